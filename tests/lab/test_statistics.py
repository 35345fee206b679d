"""Estimates and predictions against closed forms, and whether predictions cover what comes next."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mastery.lab.signed_rank import Interval
from mastery.lab.statistics import PredictionMethod, estimate, predict


def test_the_median_of_ten_has_the_second_and_the_ninth_as_interval() -> None:
    found = estimate(np.arange(1.0, 11.0))
    assert found is not None
    assert (found.value, found.trials) == (5.5, 10)
    # 1 - 2 (1 + 10)/1024, the textbook's 97.85 %.
    assert found.interval == Interval(2.0, 9.0, 1.0 - 22.0 / 1024.0, 10)


@given(st.integers(1, 120), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_rank_interval_is_the_narrowest_symmetric_one_that_attains_the_level(count: int, level: float) -> None:
    found = estimate(np.arange(1.0, count + 1.0), level=level)
    assert found is not None
    attaining = [
        left_out for left_out in range(count // 2 + count % 2) if 1.0 - 2.0 * stats.binom.cdf(left_out, count, 0.5) >= level - 1e-12
    ]
    if not attaining:
        assert found.interval is None
        return
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (attaining[-1] + 1.0, float(count - attaining[-1]))
    assert found.interval.level == pytest.approx(1.0 - 2.0 * stats.binom.cdf(attaining[-1], count, 0.5))
    assert found.interval.level >= level - 1e-12


def test_five_trials_have_a_median_and_no_interval() -> None:
    found = estimate(np.array([3.0, 1.0, 2.0, 5.0, 4.0]))
    assert found is not None
    assert (found.value, found.interval) == (3.0, None)


def test_missing_trials_are_left_out_and_an_arm_without_any_has_no_estimate() -> None:
    found = estimate(np.array([math.nan, 2.0, 4.0]))
    assert found is not None
    assert (found.value, found.trials) == (3.0, 2)
    assert estimate(np.array([math.nan])) is None


def test_thirty_nine_values_are_the_first_that_need_no_distribution() -> None:
    found = predict(np.arange(1.0, 40.0))
    assert found is not None
    assert found.method is PredictionMethod.RANKS
    assert found.interval == Interval(1.0, 39.0, 0.95, 39)
    fewer = predict(np.arange(1.0, 39.0))
    assert fewer is not None
    assert fewer.method is PredictionMethod.LOG_STUDENT


def test_few_values_are_predicted_by_student_on_their_logarithms() -> None:
    logs = np.array([0.1, -0.2, 0.05, 0.3, -0.1])
    found = predict(np.exp(logs))
    assert found is not None
    reach = stats.t.ppf(0.975, 4) * logs.std(ddof=1) * math.sqrt(1.2)
    assert found.interval.low == pytest.approx(math.exp(logs.mean() - reach))
    assert found.interval.high == pytest.approx(math.exp(logs.mean() + reach))


def test_a_prediction_never_excludes_what_has_happened() -> None:
    once_stalled = np.array([1.0] * 29 + [400.0])
    found = predict(once_stalled)
    assert found is not None
    assert (found.interval.low <= 1.0, found.interval.high) == (True, pytest.approx(400.0))


def test_counts_with_a_zero_get_their_range_and_its_honest_level() -> None:
    found = predict(np.array([0.0, 3.0, 1.0, 2.0]))
    assert found is not None
    assert found.method is PredictionMethod.RANGE
    assert found.interval == Interval(0.0, 3.0, pytest.approx(0.6), 4)


def test_two_values_predict_nothing() -> None:
    assert predict(np.array([1.0, 2.0, math.nan])) is None


Noise = Callable[[np.random.Generator, int], np.ndarray]
NOISES: dict[str, tuple[Noise, float]] = {
    # The share of the next values that must be covered at least; stalls of 12 % of the trials are the worst that was seen.
    "normal": (lambda random, count: random.normal(0.0, 0.2, count), 0.935),
    "heavy": (lambda random, count: random.standard_t(3, count) * 0.115, 0.915),
    "stalls": (lambda random, count: random.normal(0.0, 0.1, count) + 1.5 * (random.random(count) < 0.12), 0.915),
    "skewed": (lambda random, count: random.exponential(1.0, count), 0.915),
}


@pytest.mark.parametrize("count", [10, 20, 38, 39, 60])
@pytest.mark.parametrize("kind", NOISES)
def test_predictions_cover_the_next_value(kind: str, count: int) -> None:
    noise, least = NOISES[kind]
    random = np.random.default_rng(count)
    runs, covered = 1_500, 0
    for _ in range(runs):
        values = np.exp(noise(random, count + 1))
        found = predict(values[:-1])
        assert found is not None
        covered += not found.interval.excludes(float(values[-1]))
    assert least <= covered / runs < 1.0


@given(st.floats(0.01, 0.5))
def test_the_interval_of_a_median_says_less_than_the_next_value_does(spread: float) -> None:
    values = np.exp(np.random.default_rng(5).normal(0.0, spread, 20))
    middle, following = estimate(values), predict(values)
    assert middle is not None
    assert middle.interval is not None
    assert following is not None
    assert following.interval.low < middle.interval.low
    assert middle.interval.high < following.interval.high
