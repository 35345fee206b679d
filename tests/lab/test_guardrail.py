"""Guardrails against the binomial distribution itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mastery.lab.guardrail import Guardrail, guardrail, share_upper_bound, wilson_interval


def test_none_of_twenty_kills_still_allows_fourteen_per_cent() -> None:
    found = guardrail([0] * 20)
    assert found == Guardrail(20, 0, 0.0, 0.0, pytest.approx(1.0 - 0.05 ** (1 / 20)), 0.95)
    assert found is not None
    assert round(found.share_bound, 2) == 0.14


def test_a_guardrail_shows_the_worst_trial_and_not_a_typical_one() -> None:
    found = guardrail([0, 0, 40, 5, 0])
    assert found is not None
    assert (found.trials, found.trials_with_any, found.maximum, found.total) == (5, 2, 40.0, 45.0)


def test_what_cannot_be_bounded_stays_infinite() -> None:
    found = guardrail([3.0, float("inf")])
    assert found is not None
    assert found.maximum == float("inf")


def test_nothing_seen_in_no_trial_bounds_nothing() -> None:
    assert guardrail([]) is None


@given(st.integers(1, 200), st.data())
def test_the_bound_is_the_share_at_which_so_few_hits_have_five_per_cent(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    bound = share_upper_bound(hits, trials)
    if hits == trials:
        assert bound == 1.0
    else:
        assert stats.binom.cdf(hits, trials, bound) == pytest.approx(0.05, rel=1e-6)


@given(st.integers(1, 500), st.data())
def test_wilson_intervals_agree_with_scipy(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert wilson_interval(hits, trials) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


@pytest.mark.parametrize(("hits", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_hits_that_cannot_be_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="no count of hits"):
        share_upper_bound(hits, trials)
    with pytest.raises(ValueError, match="no count of hits"):
        wilson_interval(hits, trials)
