"""The test for a steady state: its trend test against SciPy, and what it says about trials that warm up, stall or rest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mastery.lab.steady import Steadiness, SteadyState, steady_state, trend_p


def trial(random: np.random.Generator, count: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum(random.exponential(1e5, count)).astype(np.int64), random.exponential(1e6, count).astype(np.int64)


@given(st.lists(st.integers(-5, 5).map(float), min_size=8, max_size=25))
def test_the_trend_test_agrees_with_kendalls_tau_with_ties(values: list[float]) -> None:
    score = sum(int(np.sign(later - earlier)) for place, later in enumerate(values) for earlier in values[:place])
    if score == 0:
        assert trend_p(np.array(values)) == 1.0
        return
    # SciPy's asymptotic test has the same variance and no continuity, which takes one step off the score.
    deviation = abs(score) / stats.norm.isf(stats.kendalltau(np.arange(len(values)), values, method="asymptotic").pvalue / 2.0)
    assert trend_p(np.array(values)) == pytest.approx(2.0 * stats.norm.sf((abs(score) - 1) / deviation), rel=1e-6)


def test_the_trend_test_equals_the_closed_form() -> None:
    # Ten rising values: S = 45, variance 10 * 9 * 25 / 18 = 125.
    assert trend_p(np.arange(10.0)) == pytest.approx(2.0 * stats.norm.sf(44.0 / math.sqrt(125.0)))
    assert trend_p(np.ones(10)) == 1.0


def test_steady_trials_are_called_drifting_in_one_of_a_hundred() -> None:
    random = np.random.default_rng(1)
    drifting = sum(steady_state(*trial(random)).steadiness is Steadiness.DRIFTING for _ in range(500))
    assert drifting / 500 <= 0.02


@pytest.mark.parametrize("last", [2.0, 0.5])
def test_a_trial_that_slows_down_or_warms_up_is_drifting_and_the_drift_is_stated(last: float) -> None:
    finished, latencies = trial(np.random.default_rng(2), 20_000)
    growth = np.exp(np.linspace(0.0, math.log(last), latencies.size))
    found = steady_state(finished, (latencies * growth).astype(np.int64))
    assert found.steadiness is Steadiness.DRIFTING
    assert found.drift == pytest.approx(last, rel=0.15)
    assert found.windows == 20


def test_a_trend_too_small_to_matter_is_steady_however_significant() -> None:
    finished, latencies = trial(np.random.default_rng(3), 400_000)
    found = steady_state(finished, (latencies * np.linspace(1.0, 1.06, latencies.size)).astype(np.int64))
    assert found.p_value < 0.01
    assert found.steadiness is Steadiness.STEADY


def test_one_stall_is_no_trend() -> None:
    finished, latencies = trial(np.random.default_rng(4))
    latencies[900:960] *= 500
    assert steady_state(finished, latencies).steadiness is Steadiness.STEADY


def test_the_order_of_the_samples_does_not_matter() -> None:
    finished, latencies = trial(np.random.default_rng(5))
    order = np.random.default_rng(6).permutation(finished.size)
    assert steady_state(finished[order], latencies[order]) == steady_state(finished, latencies)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_too_few_samples_leave_it_unknown(count: int) -> None:
    finished, latencies = trial(np.random.default_rng(7), count)
    found = steady_state(finished, latencies)
    assert (found.steadiness, math.isnan(found.drift)) == (Steadiness.UNKNOWN, True)


def test_operations_that_all_end_at_once_and_took_nothing_are_no_error() -> None:
    found = steady_state(np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.int64))
    assert isinstance(found, SteadyState)
    assert found.steadiness is Steadiness.UNKNOWN
    at = np.arange(200, dtype=np.int64) * 1_000
    assert steady_state(at, np.zeros(200, dtype=np.int64)).drift == 1.0
