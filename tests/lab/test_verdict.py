"""Verdicts at their borders, Holm's adjustment against its definition, and void shares."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.lab.experiment import Better
from mastery.lab.signed_rank import Interval
from mastery.lab.verdict import Band, LogEffect, Reason, Ruling, Verdict, holm, rule, voids_apart

TEN_PER_CENT = Band.of(0.10)


def effect(low: float, high: float, *, narrow: tuple[float, float] | None = None) -> LogEffect:
    inner = narrow or (low, high)
    return LogEffect((low + high) / 2, Interval(low, high, 0.95, 10), Interval(*inner, 0.9, 10))


def test_the_band_of_ten_per_cent_is_as_far_down_as_up_in_logarithms() -> None:
    assert math.exp(TEN_PER_CENT.margin) == pytest.approx(1.10)
    assert math.exp(-TEN_PER_CENT.margin) == pytest.approx(1 / 1.10)


@pytest.mark.parametrize("smallest", [0.0, -0.1, math.nan, math.inf])
def test_a_smallest_effect_that_is_no_share_is_refused(smallest: float) -> None:
    with pytest.raises(ValueError, match="positive share"):
        Band.of(smallest)


@pytest.mark.parametrize(
    ("better", "verdict"), [("lower", Verdict.WORSE), ("higher", Verdict.BETTER), (Better.LOWER, Verdict.WORSE)]
)
def test_a_ratio_above_one_is_judged_by_the_direction_of_the_metric(better: str, verdict: Verdict) -> None:
    assert rule(effect(0.2, 0.4), TEN_PER_CENT, floor=0.0, better=better).verdict is verdict
    opposite = {Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE}[verdict]
    assert rule(effect(-0.4, -0.2), TEN_PER_CENT, floor=0.0, better=better).verdict is opposite


def test_a_direction_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller"):
        rule(effect(0.2, 0.4), TEN_PER_CENT, floor=0.0, better="smaller")


def test_an_interval_inside_the_band_is_equivalent_even_when_it_excludes_one() -> None:
    ruling = rule(effect(0.01, 0.05), TEN_PER_CENT, floor=0.0, better="lower")
    assert ruling == Ruling(Verdict.EQUIVALENT, Reason.INSIDE_BAND)


def test_equivalence_is_decided_on_the_ninety_per_cent_interval_alone() -> None:
    ruling = rule(effect(-0.12, 0.12, narrow=(-0.09, 0.09)), TEN_PER_CENT, floor=0.0, better="lower")
    assert ruling.verdict is Verdict.EQUIVALENT


def test_an_effect_partly_inside_the_band_is_claimed_and_not_called_relevant() -> None:
    assert rule(effect(0.05, 0.2), TEN_PER_CENT, floor=0.0, better="lower") == Ruling(Verdict.WORSE, Reason.EXCLUDES_ONE, False)
    assert rule(effect(0.1, 0.2), TEN_PER_CENT, floor=0.0, better="lower") == Ruling(Verdict.WORSE, Reason.EXCLUDES_ONE, True)
    assert rule(effect(-0.2, -0.1), TEN_PER_CENT, floor=0.0, better="lower").relevant


def test_an_interval_that_touches_one_is_inconclusive() -> None:
    assert rule(effect(0.0, 0.4), TEN_PER_CENT, floor=0.0, better="lower").reason is Reason.TOO_WIDE


def test_no_effect_below_the_noise_floor_is_claimed() -> None:
    assert rule(effect(0.2, 0.4), TEN_PER_CENT, floor=0.31, better="lower").reason is Reason.BELOW_FLOOR
    assert rule(effect(0.2, 0.4), TEN_PER_CENT, floor=0.29, better="lower").verdict is Verdict.WORSE


def test_too_few_blocks_for_an_interval_are_said_to_be_too_few() -> None:
    ruling = rule(LogEffect(3.0, None, None), TEN_PER_CENT, floor=0.0, better="lower")
    assert ruling == Ruling(Verdict.INCONCLUSIVE, Reason.TOO_FEW_BLOCKS)


def test_holm_rejects_step_by_step_and_stops_at_the_first_failure() -> None:
    # 0.05/4 = 0.0125 > 0.01; 0.05/3 = 0.0167 > 0.015; 0.05/2 = 0.025 < 0.03; nothing behind it is rejected.
    found = holm([0.03, 0.01, 0.04, 0.015], risk=0.05)
    assert [each.p_value for each in found] == pytest.approx([0.06, 0.04, 0.06, 0.045])
    assert [each.risk for each in found] == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])


def test_equal_p_values_share_the_stricter_risk_whatever_their_order() -> None:
    found = holm([0.002, 0.002, 0.5], risk=0.05)
    assert found[0] == found[1]
    assert found[0].risk == pytest.approx(0.05 / 3)


def test_a_family_of_one_is_not_adjusted_and_of_none_is_empty() -> None:
    assert [(each.p_value, each.risk) for each in holm([0.04], risk=0.05)] == [(0.04, 0.05)]
    assert holm([], risk=0.05) == ()


@given(st.lists(st.sampled_from([0.001, 0.004, 0.01, 0.012, 0.02, 0.03, 0.06, 0.5, 1.0]), min_size=1, max_size=9))
def test_adjusted_p_and_adjusted_risk_always_decide_alike(p_values: list[float]) -> None:
    adjusted = holm(p_values, risk=0.05)
    for p_value, each in zip(p_values, adjusted, strict=True):
        assert (each.p_value <= 0.05 + 1e-12) == (p_value <= each.risk + 1e-15)
    rejected = {index for index, each in enumerate(adjusted) if each.p_value <= 0.05 + 1e-12}
    assert rejected == _rejected_by_definition(p_values)


def _rejected_by_definition(p_values: list[float]) -> set[int]:
    """Closed testing with Bonferroni: an arm is rejected when every subfamily that holds it is (Marcus, Peritz, Gabriel 1976)."""
    count = len(p_values)
    rejected = set()
    for index in range(count):
        families = [[i for i in range(count) if mask >> i & 1] for mask in range(1, 2**count) if mask >> index & 1]
        if all(min(p_values[i] for i in family) <= 0.05 / len(family) + 1e-15 for family in families):
            rejected.add(index)
    return rejected


def test_void_shares_ten_points_apart_are_let_through_and_more_is_not() -> None:
    assert 4 / 10 - 3 / 10 > 0.1  # which is why the border has a hair of room
    assert voids_apart([3, 4], [10, 10]) is None
    assert voids_apart([0, 1, 1], [6, 12, 100]) is None
    assert voids_apart([0, 2], [12, 14]) == pytest.approx(2 / 14)


def test_arms_that_never_ran_say_nothing_about_voids() -> None:
    assert voids_apart([0, 0], [0, 10]) is None
    assert voids_apart([], []) is None
