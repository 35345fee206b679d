"""The distributions against SciPy and closed forms."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from mastery.lab.distributions import (
    beta_probability,
    beta_quantile,
    coin_probability,
    normal_probability,
    normal_quantile,
    student_probability,
    student_quantile,
)

PROBABILITIES = [1e-9, 1e-4, 0.005, 0.025, 0.3, 0.5, 0.8, 0.975, 0.9995]


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 29, 200, 5000])
@pytest.mark.parametrize("probability", PROBABILITIES)
def test_student_quantiles_agree_with_scipy(probability: float, degrees: int) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-9, abs=1e-12)


def test_student_with_one_degree_is_the_cauchy_distribution() -> None:
    assert student_quantile(0.975, 1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-10)
    assert student_probability(1.0, 1) == pytest.approx(0.75, rel=1e-12)


@example(5.960464477539063e-08, 32)
@given(st.floats(-40, 40), st.integers(1, 500))
def test_student_probabilities_agree_with_scipy(value: float, degrees: int) -> None:
    assert student_probability(value, degrees) == pytest.approx(stats.t.cdf(value, degrees), rel=1e-8, abs=1e-13)


@given(st.floats(0.0, 1.0), st.floats(0.5, 2000.0), st.floats(0.5, 2000.0))
def test_beta_probabilities_agree_with_scipy(value: float, a: float, b: float) -> None:
    assert beta_probability(value, a, b) == pytest.approx(stats.beta.cdf(value, a, b), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1, 20), (3, 18), (1, 1), (500, 700), (0.5, 0.5)])
def test_beta_quantiles_agree_with_scipy(a: float, b: float) -> None:
    for probability in (0.01, 0.05, 0.5, 0.95):
        assert beta_quantile(probability, a, b) == pytest.approx(stats.beta.ppf(probability, a, b), rel=1e-9)


@given(st.integers(0, 300), st.integers(-5, 310))
def test_a_coins_tail_agrees_with_scipy(tosses: int, heads: int) -> None:
    assert coin_probability(heads, tosses) == pytest.approx(stats.binom.cdf(heads, tosses, 0.5), rel=1e-9, abs=1e-300)


def test_the_normal_quantile_undoes_its_probability() -> None:
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, rel=1e-12)
    assert normal_probability(normal_quantile(0.2)) == pytest.approx(0.2)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0), (math.nan, 3)])
def test_a_quantile_that_does_not_exist_is_refused(probability: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(probability, degrees)
