"""The number of blocks: the formula by hand, its three reasons, and the width that it promises."""

import math

import numpy as np
import pytest
from scipy import stats

from mastery.lab.planning import PILOT_BLOCKS, BlockPlan, Mode, PlanReason, budget_sum, fewest_blocks, plan_blocks
from mastery.lab.signed_rank import SignedRank

PLENTY = 10**6


def plan(pilot: np.ndarray, **changes: object) -> BlockPlan:
    settings: dict = {"baseline": 0, "smallest_effect": 0.10, "mode": Mode.NORMAL, "affordable": PLENTY} | changes
    return plan_blocks(pilot, **settings)


def pilot_with(*log_ratios: list[float]) -> np.ndarray:
    columns = np.array(log_ratios).T
    return np.hstack([np.zeros((columns.shape[0], 1)), columns])


def test_stein_fixes_the_number_from_the_spread_of_the_pilot() -> None:
    ratios = [0.1, -0.1, 0.1, -0.1]
    found = plan(pilot_with(ratios))
    spread, half_width = np.std(ratios, ddof=1), math.log(1.05)
    expected = math.ceil(math.pi / 3 * (stats.t.ppf(0.975, 3) * spread / half_width) ** 2)
    assert found == BlockPlan(expected, PlanReason.PRECISION, expected, 10, PLENTY, 1)


def test_a_great_effect_needs_only_a_tenth_of_itself() -> None:
    noise = np.array([0.9, -0.9, 0.9, -0.9])
    small, great = plan(pilot_with(list(noise))), plan(pilot_with(list(noise + math.log(20.0))))
    assert great.wanted == pytest.approx(small.wanted * (math.log(1.05) / (math.log(20.0) / 10)) ** 2, rel=0.02)


def test_the_neediest_arm_decides_and_is_named() -> None:
    found = plan(pilot_with([0.1, -0.1, 0.1, -0.1], [0.2, -0.2, 0.2, -0.2]))
    assert found.widest_arm == 2
    assert found.wanted == plan(pilot_with([0.2, -0.2, 0.2, -0.2])).wanted


def test_the_twin_asks_for_nothing() -> None:
    noisy_twin = pilot_with([0.001, -0.001, 0.001, -0.001], [0.5, -0.5, 0.5, -0.5])
    assert plan(noisy_twin, twin=2).reason is PlanReason.MINIMUM
    assert plan(noisy_twin).reason is PlanReason.PRECISION


@pytest.mark.parametrize(("mode", "blocks"), [(Mode.QUICK, 6), (Mode.NORMAL, 10), (Mode.RIGOROUS, 20)])
def test_a_quiet_pilot_gets_the_minimum_of_its_mode(mode: Mode, blocks: int) -> None:
    found = plan(np.zeros((4, 3)), mode=mode)
    assert (found.blocks, found.reason) == (blocks, PlanReason.MINIMUM)


def test_many_arms_raise_the_minimum_to_what_the_adjusted_interval_can_attain() -> None:
    assert fewest_blocks(Mode.NORMAL, family=25) == 10
    assert fewest_blocks(Mode.NORMAL, family=26) == 11
    assert fewest_blocks(Mode.QUICK, family=26) == 6


def test_the_budget_caps_and_the_plan_says_what_was_wanted() -> None:
    found = plan(pilot_with([0.1, -0.1, 0.1, -0.1]), affordable=14)
    assert (found.blocks, found.reason) == (14, PlanReason.BUDGET)
    assert found.wanted > 14
    assert plan(np.zeros((4, 2)), affordable=7).reason is PlanReason.BUDGET


def test_missing_trials_of_the_pilot_are_left_out() -> None:
    holed = pilot_with([0.1, -0.1, math.nan, -0.1])
    assert plan(holed).wanted > plan(pilot_with([0.1, -0.1, 0.1, -0.1])).wanted
    assert plan(pilot_with([0.1, math.nan, math.nan, math.nan])).reason is PlanReason.MINIMUM


def test_a_wild_pilot_overflows_nothing() -> None:
    assert plan(pilot_with([300.0, -300.0, 300.0, -300.0]), affordable=12).blocks == 12


def test_the_number_of_blocks_keeps_the_promised_half_width() -> None:
    random = np.random.default_rng(4)
    kept, runs = 0, 300
    for _ in range(runs):
        pilot = random.normal(0.0, 0.04, (PILOT_BLOCKS, 2))
        found = plan(pilot)
        values = np.vstack([pilot, random.normal(0.0, 0.04, (found.blocks - PILOT_BLOCKS, 2))])
        interval = SignedRank.of(values[:, 1] - values[:, 0]).interval(0.05)
        assert interval is not None
        kept += interval.reach <= math.log(1.05)
    assert kept / runs >= 0.9


def test_the_sum_says_what_the_fewest_blocks_cost() -> None:
    short = budget_sum(arms=8, trial_s=0.5, budget_s=20.0)
    assert str(short) == "6 blocks x 8 arms x 0.5 s = 24 s, the budget is 20 s"
    assert (short.fits, short.affordable) == (False, 5)
    assert budget_sum(arms=8, trial_s=0.4, budget_s=20.0).fits


def test_time_spent_before_the_first_block_is_part_of_the_sum() -> None:
    found = budget_sum(arms=2, trial_s=1.0, budget_s=13.0, fixed_s=1.0)
    assert (found.needed_s, found.affordable, found.fits) == (13.0, 6, True)
    assert not budget_sum(arms=2, trial_s=1.0, budget_s=13.0, fixed_s=2.0).fits
    assert budget_sum(arms=2, trial_s=1.0, budget_s=13.0, fixed_s=20.0).affordable == 0


def test_ten_tenths_of_a_second_fit_a_second() -> None:
    assert budget_sum(arms=1, trial_s=0.1, budget_s=1.0).affordable == 10
    assert budget_sum(arms=3, trial_s=0.1, budget_s=3.0).affordable == 10


@pytest.mark.parametrize(("arms", "trial_s"), [(0, 1.0), (2, 0.0), (2, math.nan)])
def test_a_block_that_takes_no_time_cannot_be_planned(arms: int, trial_s: float) -> None:
    with pytest.raises(ValueError, match="cannot be planned"):
        budget_sum(arms=arms, trial_s=trial_s, budget_s=10.0)
