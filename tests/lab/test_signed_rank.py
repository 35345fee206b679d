"""The signed-rank interval against enumeration, SciPy and its own coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mastery.lab.signed_rank import EXACT_UP_TO, Interval, SignedRank, blocks_for, critical_rank, rank_sum_probability

LEVELS = st.sampled_from([0.2, 0.1, 0.05, 0.0125, 0.01])
SMALL = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=12)
ANY = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=25)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9])
def test_the_exact_distribution_equals_the_enumeration_of_all_signs(count: int) -> None:
    sums = [sum(rank for rank, up in zip(range(1, count + 1), signs, strict=True) if up) for signs in _signs(count)]
    for rank_sum in range(count * (count + 1) // 2 + 1):
        expected = sum(each <= rank_sum for each in sums) / 2**count
        assert rank_sum_probability(rank_sum, count) == expected


def _signs(count: int) -> list[tuple[bool, ...]]:
    return list(itertools.product([False, True], repeat=count))


def test_the_exact_distribution_sums_to_one_at_its_limit() -> None:
    assert rank_sum_probability(EXACT_UP_TO * (EXACT_UP_TO + 1) // 2, EXACT_UP_TO) == pytest.approx(1.0, rel=1e-12)
    assert rank_sum_probability(-1, 10) == 0.0


def test_fifty_ranks_are_counted_as_exactly_as_integers_do() -> None:
    exact = _counted(50)
    assert [rank_sum_probability(rank_sum, 50) for rank_sum in range(0, 1276, 25)] == exact[::25]


def test_the_approximation_above_the_limit_continues_the_exact_values() -> None:
    count = EXACT_UP_TO + 1
    exact = _counted(count)
    for rank_sum in range(0, count * (count + 1) // 2, 37):
        assert rank_sum_probability(rank_sum, count) == pytest.approx(exact[rank_sum], abs=0.0005)
    rank = critical_rank(count, 0.05)
    assert rank is not None
    assert 2.0 * exact[rank] == pytest.approx(0.05, abs=0.0005)


def _counted(count: int) -> list[float]:
    patterns = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        patterns = [each + (patterns[total - rank] if total >= rank else 0) for total, each in enumerate(patterns)]
    return [part / 2**count for part in itertools.accumulate(patterns)]


# Hollander, Wolfe, Chicken, table A.4: the rank sums of the two-sided 5 % test.
@pytest.mark.parametrize(("count", "rank"), [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (15, 25), (20, 52), (25, 89)])
def test_critical_ranks_equal_the_published_table(count: int, rank: int) -> None:
    assert critical_rank(count, 0.05) == rank


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_five_blocks_have_no_interval_at_95_per_cent(count: int) -> None:
    assert SignedRank.of(np.arange(float(count))).interval(0.05) is None


def test_six_blocks_have_an_interval_and_state_the_level_that_they_attain() -> None:
    interval = SignedRank.of(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).interval(0.05)
    assert interval == Interval(1.0, 6.0, 1.0 - 2.0 / 64.0, 6)


@pytest.mark.parametrize(("risk", "blocks"), [(0.05, 6), (0.05 / 4, 8), (0.05 / 25, 10), (0.0625, 5)])
def test_the_fewest_blocks_are_exactly_those_that_attain_the_risk(risk: float, blocks: int) -> None:
    assert blocks_for(risk) == blocks
    assert critical_rank(blocks, risk) is not None
    assert critical_rank(blocks - 1, risk) is None


@given(ANY)
def test_the_centre_is_the_median_of_all_pairwise_averages(values: list[float]) -> None:
    averages = [(values[i] + values[j]) / 2 for i in range(len(values)) for j in range(i, len(values))]
    assert SignedRank.of(np.array(values)).centre == pytest.approx(float(np.median(averages)), abs=1e-9)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=25, unique=True), st.data())
def test_the_p_value_agrees_with_scipy_without_ties(magnitudes: list[int], data: st.DataObject) -> None:
    signs = data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(magnitudes), max_size=len(magnitudes)))
    differences = np.array(magnitudes) * np.array(signs)
    assert SignedRank.of(differences).p_value() == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-9)


@given(st.one_of(SMALL, ANY), LEVELS)
def test_interval_and_p_value_never_disagree_whatever_the_ties_and_zeros(values: list[float], risk: float) -> None:
    ranks = SignedRank.of(np.array(values))
    interval = ranks.interval(risk)
    assert (ranks.p_value() <= risk) == (interval is not None and interval.excludes(0.0))


@given(st.one_of(SMALL, ANY), st.sampled_from([0.05, 0.025, 0.0125]), st.floats(0.1, 5.0))
def test_equivalence_is_the_interval_at_twice_the_risk_inside_the_margin(values: list[float], risk: float, margin: float) -> None:
    ranks = SignedRank.of(np.array(values))
    interval = ranks.interval(2.0 * risk)
    assert (ranks.equivalence_p(margin) <= risk) == (interval is not None and interval.lies_within(-margin, margin))


@given(ANY)
def test_turning_the_signs_turns_the_interval(values: list[float]) -> None:
    ahead, back = SignedRank.of(np.array(values)), SignedRank.of(-np.array(values))
    assert ahead.p_value() == back.p_value()
    one, other = ahead.interval(0.1), back.interval(0.1)
    if one is None or other is None:
        assert one is other
    else:
        assert (one.low, one.high) == (-other.high, -other.low)


def test_only_zeros_are_no_finding_and_a_perfect_equivalence() -> None:
    ranks = SignedRank.of(np.zeros(10))
    assert (ranks.centre, ranks.p_value()) == (0.0, 1.0)
    assert ranks.equivalence_p(0.01) == 1.0 / 2**10


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf, 1.0]])
def test_what_is_not_finite_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite differences"):
        SignedRank.of(np.array(bad))


def test_a_ratio_too_great_for_a_float_is_infinite_and_not_an_error() -> None:
    assert Interval(0.0, 800.0, 0.95, 6).exponentiated() == Interval(1.0, math.inf, 0.95, 6)


def _noise(kind: str, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    if kind == "normal":
        return random.normal(0.0, 0.2, shape)
    if kind == "heavy":
        return random.standard_t(3, shape) * 0.2 / math.sqrt(3.0)
    return random.normal(0.0, 0.1, shape) + 1.5 * (random.random(shape) < 0.12)


@pytest.mark.parametrize("kind", ["normal", "heavy", "stalls"])
@pytest.mark.parametrize("blocks", [6, 10, 20])
def test_the_interval_covers_the_true_ratio_at_its_level(kind: str, blocks: int) -> None:
    random = np.random.default_rng(20)
    runs = 1_500
    arm, base = _noise(kind, (runs, blocks), random) + math.log(2.0), _noise(kind, (runs, blocks), random)
    intervals = [SignedRank.of(row).interval(0.05) for row in arm - base]
    covered = sum(interval is not None and not interval.excludes(math.log(2.0)) for interval in intervals)
    # Three standard errors of a share of 0.95 over 1,500 runs are 0.017.
    assert covered / runs >= 0.933
    assert covered / runs < 1.0
