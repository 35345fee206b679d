"""The judging of a run, from its logarithms to its verdicts."""

import math

import numpy as np
import pytest

from mastery.lab.judgement import Judgement, judge, withhold
from mastery.lab.planning import Mode
from mastery.lab.verdict import Reason, Verdict


def run(ratios: list[float], *, blocks: int = 12, spread: float = 0.05, seed: int = 1) -> np.ndarray:
    """Logarithms of a simulated run: the baseline first, then an arm for each ratio."""
    random = np.random.default_rng(seed)
    levels = np.log(np.array([1.0, *ratios]))
    return levels + random.normal(0.0, 0.3, (blocks, 1)) + random.normal(0.0, spread, (blocks, levels.size))


def judged(values: np.ndarray, **changes: object) -> Judgement:
    settings: dict = {"baseline": 0, "smallest_effect": 0.10, "better": "lower", "mode": Mode.NORMAL} | changes
    return judge(values, **settings)


def test_a_run_tells_better_worse_and_equivalent_apart() -> None:
    found = judged(run([2.0, 0.5, 1.0]))
    assert [effect.verdict for effect in found.effects] == [Verdict.WORSE, Verdict.BETTER, Verdict.EQUIVALENT]
    assert [effect.relevant for effect in found.effects] == [True, True, False]
    assert [effect.blocks_needed for effect in found.effects] == [None, None, None]
    assert found.effect_of(1).ratio == pytest.approx(2.0, rel=0.1)


def test_more_is_better_where_the_metric_says_so() -> None:
    found = judged(run([2.0, 0.5]), better="higher")
    assert [effect.verdict for effect in found.effects] == [Verdict.BETTER, Verdict.WORSE]


def test_swapping_arm_and_baseline_inverts_ratio_interval_and_verdict() -> None:
    values = run([1.4])
    ahead, back = judged(values).effects[0], judged(values, baseline=1).effects[0]
    assert ahead.ratio is not None
    assert back.ratio == pytest.approx(1.0 / ahead.ratio)
    assert ahead.interval is not None
    assert back.interval is not None
    assert (back.interval.low, back.interval.high) == (
        pytest.approx(1.0 / ahead.interval.high),
        pytest.approx(1.0 / ahead.interval.low),
    )
    assert (ahead.verdict, back.verdict) == (Verdict.WORSE, Verdict.BETTER)


def test_a_drift_over_the_blocks_is_no_difference_between_arms() -> None:
    values = run([1.0, 1.0]) + np.linspace(0.0, 3.0, 12)[:, np.newaxis]
    assert {effect.verdict for effect in judged(values).effects} == {Verdict.EQUIVALENT}


def test_intervals_are_adjusted_over_the_arms_and_the_plain_ones_stand_beside() -> None:
    effect = judged(run([1.3, 1.0, 1.0, 1.0])).effects[0]
    assert effect.family == 4
    assert effect.interval is not None
    assert effect.plain is not None
    assert effect.interval.level >= 1.0 - 0.05 / 4
    assert effect.plain.level >= 0.95
    assert effect.interval.low < effect.plain.low
    assert effect.plain.high < effect.interval.high


def test_equivalence_rests_on_two_one_sided_tests_at_five_per_cent() -> None:
    alone = judged(run([1.0])).effects[0]
    assert alone.equivalence is not None
    assert 0.90 <= alone.equivalence.level < 0.95
    among_four = judged(run([1.0, 1.6, 2.0, 2.5])).effects[0]
    assert among_four.equivalence is not None
    assert 1.0 - 0.10 / 4 <= among_four.equivalence.level < 1.0 - 0.05 / 4


def test_quick_runs_indicate_without_an_adjustment() -> None:
    found = judged(run([2.0, 1.0, 1.0, 1.0], blocks=6), mode=Mode.QUICK)
    assert found.is_indication
    assert {effect.family for effect in found.effects} == {1}
    assert found.effects[0].verdict is Verdict.WORSE
    assert found.effects[0].interval == found.effects[0].plain


def test_six_blocks_cannot_carry_four_adjusted_arms_and_the_run_says_how_many_would() -> None:
    effect = judged(run([2.0, 1.0, 1.0, 1.0], blocks=6)).effects[0]
    assert (effect.verdict, effect.reason) == (Verdict.INCONCLUSIVE, Reason.TOO_FEW_BLOCKS)
    assert effect.interval is None
    assert effect.plain is not None
    assert effect.blocks_needed == 2


def test_the_twin_of_the_baseline_stays_outside_the_family_and_feeds_the_floor() -> None:
    values = run([1.3, 1.0])
    with_twin, without = judged(values, twin=2), judged(values[:, :2])
    assert with_twin.effect_of(1).family == 1
    assert with_twin.effect_of(1).interval == without.effect_of(1).interval
    assert (with_twin.floor.pairs, without.floor.pairs) == (3, 1)
    assert with_twin.effect_of(2).verdict is Verdict.EQUIVALENT


def test_missing_trials_are_dropped_with_their_pair_only() -> None:
    values = run([2.0, 1.0])
    values[3, 1], values[7, 0] = math.nan, math.nan
    found = judged(values)
    assert [effect.blocks for effect in found.effects] == [10, 11]
    assert found.effects[0].verdict is Verdict.WORSE


def test_an_arm_without_a_single_trial_has_no_ratio_and_takes_nothing_from_the_others() -> None:
    values = run([2.0, 1.0])
    values[:, 2] = math.nan
    found = judged(values)
    assert (found.effects[1].ratio, found.effects[1].reason) == (None, Reason.TOO_FEW_BLOCKS)
    assert found.effects[1].blocks_needed is not None
    assert found.effects[0].verdict is Verdict.WORSE


def test_a_metric_of_zero_has_no_ratio_and_no_number_of_blocks_helps() -> None:
    values = run([2.0, 1.0])
    values[5, 1] = -math.inf
    effect = judged(values).effects[0]
    assert (effect.verdict, effect.reason, effect.blocks_needed) == (Verdict.INCONCLUSIVE, Reason.NO_RATIO, None)


def test_noise_is_inconclusive_and_the_blocks_it_asks_for_settle_it() -> None:
    values = run([1.15], blocks=12, spread=0.2, seed=3)
    effect = judged(values).effects[0]
    assert (effect.verdict, effect.reason) == (Verdict.INCONCLUSIVE, Reason.TOO_WIDE)
    assert effect.ratio is not None
    assert effect.blocks_needed is not None
    settled = 0
    for seed in range(200):
        again = run([effect.ratio], blocks=12 + effect.blocks_needed, spread=0.2, seed=seed)
        settled += judged(again).effects[0].verdict is not Verdict.INCONCLUSIVE
    # Meant is 80 %, of an estimate that is itself noisy.
    assert 0.6 <= settled / 200 < 1.0


def test_a_quiet_arm_below_the_floor_of_a_noisy_run_claims_nothing() -> None:
    random = np.random.default_rng(6)
    values = np.hstack([random.normal(0.0, 0.001, (12, 2)) + np.array([0.0, 0.12]), random.normal(0.0, 1.0, (12, 4))])
    effect = judged(values).effects[0]
    assert (effect.verdict, effect.reason) == (Verdict.INCONCLUSIVE, Reason.BELOW_FLOOR)
    assert judged(values[:, :2]).effects[0].verdict is Verdict.WORSE


def test_verdicts_are_withheld_as_a_whole_and_the_figures_stay() -> None:
    found = judged(run([2.0, 1.0]))
    silent = withhold(found)
    assert {(effect.verdict, effect.reason) for effect in silent.effects} == {(Verdict.INCONCLUSIVE, Reason.VOIDS_APART)}
    assert [effect.interval for effect in silent.effects] == [effect.interval for effect in found.effects]


def test_a_single_arm_has_nothing_to_be_compared_with() -> None:
    assert judged(run([])).effects == ()


@pytest.mark.parametrize(("values", "baseline"), [(np.zeros(5), 0), (np.zeros((5, 2)), 2), (np.zeros((5, 2)), -1)])
def test_a_baseline_that_is_not_among_the_arms_is_refused(values: np.ndarray, baseline: int) -> None:
    with pytest.raises(ValueError, match="no baseline"):
        judged(values, baseline=baseline)
