"""The Pareto frontier against brute force, and the share of resampled runs against what it must be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.lab.frontier import Objective, Summary, dominance, frontier, standings

LOW_LOW = [Objective("lower"), Objective("lower")]


def brute_force(points: list[tuple[float, ...]], directions: list[str]) -> list[bool]:
    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        good = [a <= b if way == "lower" else a >= b for a, b, way in zip(one, other, directions, strict=True)]
        return all(good) and one != other

    return [not any(beats(other, point) for other in points) for point in points]


@given(st.data())
def test_the_frontier_equals_brute_force(data: st.DataObject) -> None:
    metrics = data.draw(st.integers(1, 4))
    directions = data.draw(st.lists(st.sampled_from(["lower", "higher"]), min_size=metrics, max_size=metrics))
    point = st.tuples(*[st.integers(0, 4).map(float)] * metrics)
    points = data.draw(st.lists(point, min_size=1, max_size=12))
    assert frontier(np.array(points), directions).tolist() == brute_force(points, directions)


def test_equal_arms_are_both_on_the_frontier() -> None:
    assert frontier(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]), ["lower", "lower"]).tolist() == [True, True, False]


def test_an_arm_that_lacks_a_metric_neither_beats_nor_stands_on_the_frontier() -> None:
    points = np.array([[1.0, math.nan], [2.0, 2.0]])
    assert not dominance(points, ["lower", "lower"]).any()
    assert frontier(points, ["lower", "lower"]).tolist() == [False, True]


def test_a_direction_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="cheap"):
        frontier(np.zeros((2, 1)), ["cheap"])


def blocks_of(levels: list[list[float]], *, spread: float, blocks: int = 10) -> np.ndarray:
    values = np.array(levels)
    return values + np.random.default_rng(1).normal(0.0, spread, (blocks, *values.shape))


def test_arms_far_apart_are_sure_and_the_dominated_one_names_who_beats_it() -> None:
    found = standings(blocks_of([[1, 9], [9, 1], [9.5, 9.5]], spread=0.1), LOW_LOW, random=np.random.default_rng(1))
    assert [each.on_frontier for each in found] == [True, True, False]
    assert [each.share for each in found] == [1.0, 1.0, 0.0]
    assert found[2].dominated_by == (0, 1)
    assert found[0].dominated_by == ()


def test_arms_that_noise_cannot_tell_apart_share_the_frontier() -> None:
    equal = blocks_of([[5, 5], [5, 5]], spread=1.0, blocks=40)
    found = standings(equal, [Objective("lower")] * 2, random=np.random.default_rng(1))
    assert all(0.05 < each.share < 1.0 for each in found)


def test_the_same_generator_gives_the_same_shares() -> None:
    values = blocks_of([[5, 5], [5, 5.2], [5.1, 4.9]], spread=0.5)
    one, other = (standings(values, LOW_LOW, random=np.random.default_rng(4)) for _ in range(2))
    assert one == other


def test_a_guardrail_counts_by_its_worst_trial_and_never_by_its_median() -> None:
    # One arm loses nothing in nine of ten kills and forty in the tenth; the other loses three every time.
    values = np.zeros((10, 2, 1))
    values[:, 1, 0], values[4, 0, 0] = 3.0, 40.0
    by_median = standings(values, [Objective("lower")], random=np.random.default_rng(1))
    by_worst = standings(values, [Objective("lower", Summary.WORST)], random=np.random.default_rng(1))
    assert [each.on_frontier for each in by_median] == [True, False]
    assert [each.on_frontier for each in by_worst] == [False, True]
    by_least = standings(-values, [Objective("higher", Summary.WORST)], random=np.random.default_rng(1))
    assert by_least == by_worst


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_missing_trials_are_left_out_of_the_median(seed: int, blocks: int) -> None:
    random = np.random.default_rng(seed)
    values = np.where(random.random((blocks, 4, 1)) < 0.3, math.nan, random.normal(size=(blocks, 4, 1)))
    found = standings(values, [Objective("lower")], random=random)
    medians = [
        float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else math.nan for column in values[:, :, 0].T
    ]
    least = min((each for each in medians if not math.isnan(each)), default=None)
    assert [each.on_frontier for each in found] == [each == least for each in medians]
    assert all(each.share == 0.0 for each, median in zip(found, medians, strict=True) if math.isnan(median))
