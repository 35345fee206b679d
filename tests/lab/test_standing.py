"""How a claim stands: on the whole interval, at every level it names, by the worst trial, and never on what was not run."""

import math
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.lab.claim import Claim, Comparison, ambiguities, least, ratio, value, worst
from mastery.lab.document import ArmRecord, ClaimRecord, Estimate, TrialRecord
from mastery.lab.evidence import Evidence
from mastery.lab.experiment import Experiment, Factor, Metric, contradictions
from mastery.lab.load import Closed
from mastery.lab.plan import Header, Plan
from mastery.lab.planning import Mode
from mastery.lab.standing import standing

# What one operation costs at each level; `size` doubles it.
SPEED = {"base": 1.0, "slow": 3.0, "fast": 0.5}


def trial(arm: Any) -> Generator[Any, Any, None]:
    yield lambda _: None


def declared(*claims: Claim) -> Experiment:
    return Experiment(
        id="fake",
        question="Does it?",
        factors=(Factor("speed", list(SPEED), "base"), Factor("size", ["small", "large"], "small")),
        metrics=(Metric("each", "s", primary=True), Metric("lost", "record", role="guardrail")),
        load=Closed(),
        trial=trial,
        claims=claims,
    )


def evidence_of(*, blocks: int = 8, skip: Mapping[str, str] | None = None, spread: float = 0.01) -> Evidence:
    """Blocks of trials whose figures are known: ratios of `SPEED`, `lost` = block number at slow and 0 elsewhere."""
    experiment = declared()
    arms = experiment.arms()
    left_out = [arm for arm in arms if skip and all(arm.levels[name] == level for name, level in skip.items())]
    skipped = tuple(ArmRecord(index=arm.index, levels=dict(arm.levels), label=arm.label(), skipped="no disk") for arm in left_out)
    run = tuple(arm for arm in arms if arm not in left_out)
    header = Header(run="r", article="", started="", package="0")
    evidence = Evidence(Plan(experiment, header, Mode.NORMAL, 7, 0.1, 60.0, run, skipped))
    for block in range(blocks):
        for number, arm in enumerate([*run, run[0]]):
            noise = math.exp(spread * math.sin(7 * block + number))
            figure = SPEED[str(arm.speed)] * (2.0 if arm.size == "large" else 1.0) * noise
            lost = float(block) if arm.speed == "slow" else 0.0
            metrics = {"each": figure, "lost": lost}
            evidence.add(TrialRecord(block=block, arm=arm.index, status="ok", placebo=number == len(run), metrics=metrics), None)
        evidence.close_block(block)
    return evidence


def stands(comparison: Comparison, evidence: Evidence | None = None, estimates: list[Estimate] | None = None) -> ClaimRecord:
    return standing(Claim("c", comparison, because="tested"), evidence or evidence_of(), estimates or [])


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (ratio("each", "slow", over="base") >= 2.5, "holds"),
        (ratio("each", "slow", over="base") >= 3.5, "fails"),
        (ratio("each", "slow", over="base") >= 3.0, "inconclusive"),
        (ratio("each", "fast", over="base") <= 0.6, "holds"),
        (ratio("each", "fast", over="base") <= 0.4, "fails"),
        (ratio("each", "fast", over="base") <= 0.5, "inconclusive"),
        (ratio("each", "base", over="slow") <= 0.4, "holds"),
        (ratio("each", "large", over="small") >= 1.9, "holds"),
        (ratio("each", "slow", over="fast", at={"size": "large"}) >= 5.5, "holds"),
        (ratio("each", "slow", over="base", every_level="size") >= 2.5, "holds"),
        (ratio("each", "large", over="small", every_level="speed") >= 2.5, "fails"),
    ],
)
def test_a_ratio_stands_on_its_whole_interval(comparison: Comparison, expected: str) -> None:
    record = stands(comparison)
    assert record.standing == expected
    assert record.value is not None and record.low is not None and record.high is not None
    assert record.low < record.value < record.high
    assert record.because == "tested"


def test_a_claim_about_every_level_shows_the_figure_that_comes_nearest_to_its_failure() -> None:
    record = stands(ratio("each", "large", over="small", every_level="speed") >= 1.0)
    single = [stands(ratio("each", "large", over="small", at={"speed": level}) >= 1.0).value for level in SPEED]
    assert record.value == min(figure for figure in single if figure is not None)


def test_fewer_blocks_than_an_interval_needs_leave_a_ratio_open() -> None:
    record = stands(ratio("each", "slow", over="base") >= 2, evidence_of(blocks=5))
    assert (record.standing, record.low, record.why) == ("inconclusive", None, "5 blocks are too few for an interval")


def estimate(arm: int, low: float | None, high: float | None, **more: Any) -> Estimate:
    return Estimate(arm=arm, metric="each", value=1.0, low=low, high=high, trials=8, **more)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.9, 1.1, "holds"), (0.9, 1.2, "holds"), (0.9, 1.3, "inconclusive"), (1.25, 1.3, "fails"), (None, None, "inconclusive")],
)
def test_a_value_stands_on_the_interval_that_the_page_shows(low: float | None, high: float | None, expected: str) -> None:
    assert stands(value("each") <= 1.2, estimates=[estimate(0, low, high)]).standing == expected


def test_a_value_that_is_withheld_or_absent_is_not_run_and_says_why() -> None:
    withheld = stands(value("each") <= 1.2, estimates=[estimate(0, None, None, withheld="12 samples")])
    assert (withheld.standing, withheld.why) == ("not_run", "12 samples")
    assert stands(value("each") <= 1.2).standing == "not_run"


@pytest.mark.parametrize(
    ("comparison", "expected", "figure"),
    [
        (worst("lost") <= 0, "holds", 0),
        (worst("lost", at={"speed": "slow"}) <= 6, "fails", 7),
        (worst("lost", at={"speed": "slow"}) >= 7, "holds", 7),
        (worst("lost", every_level="speed") <= 0, "fails", 7),
        (least("lost", at={"speed": "slow"}) >= 1, "fails", 0),
        (least("lost", at={"speed": "slow"}) <= 0, "holds", 0),
    ],
)
def test_the_worst_and_the_least_trial_decide_and_no_median(comparison: Comparison, expected: str, figure: float) -> None:
    record = stands(comparison)
    assert (record.standing, record.value) == (expected, figure)


def test_the_worst_trial_of_an_incomplete_block_counts_too() -> None:
    evidence = evidence_of()
    slow = next(arm.index for arm in evidence.plan.arms if arm.speed == "slow")
    evidence.add(TrialRecord(block=99, arm=slow, status="ok", metrics={"lost": 500.0}), None)
    assert stands(worst("lost", at={"speed": "slow"}) <= 100, evidence).value == 500


@pytest.mark.parametrize(
    "comparison",
    [
        ratio("each", "slow", over="base") >= 2,
        ratio("each", "base", over="slow") <= 2,
        worst("lost", at={"speed": "slow"}) <= 100,
        # At every level means also at the one that was skipped.
        worst("lost", every_level="speed") <= 100,
        ratio("each", "large", over="small", every_level="speed") >= 1.5,
    ],
)
def test_a_claim_on_a_skipped_arm_is_not_run(comparison: Comparison) -> None:
    record = stands(comparison, evidence_of(skip={"speed": "slow"}))
    assert (record.standing, record.value) == ("not_run", None)
    assert "was not run" in record.why


def test_what_a_claim_says_of_a_skipped_baseline_is_not_said_of_the_arm_in_its_place() -> None:
    evidence = evidence_of(skip={"size": "small"})
    assert {arm.size for arm in evidence.plan.arms} == {"large"}
    assert stands(worst("lost") <= 0, evidence).why == "the arm size=small was not run"
    assert stands(ratio("each", "slow", over="base") >= 2.5, evidence).standing == "not_run"
    assert stands(ratio("each", "slow", over="base", at={"size": "large"}) >= 2.5, evidence).standing == "holds"


def of_user(levels: Mapping[str, list[Any]]) -> Evidence:
    """The evidence of a run whose levels the user chose; every trial says 1."""
    experiment = declared()
    arms = experiment.arms(levels)
    evidence = Evidence(Plan(experiment, Header(run="r", article="", started="", package="0"), Mode.NORMAL, 7, 0.1, 60.0, arms))
    for block in range(8):
        for number, arm in enumerate([*arms, arms[0]]):
            metrics = {"each": 1.0, "lost": 0.0}
            evidence.add(TrialRecord(block=block, arm=arm.index, status="ok", placebo=number == len(arms), metrics=metrics), None)
        evidence.close_block(block)
    return evidence


def test_a_claim_means_the_declared_baseline_whatever_the_user_compares_with() -> None:
    alone = of_user({"speed": ["slow"]})
    assert alone.plan.arms[0].is_baseline and alone.plan.arms[0].speed == "slow"
    record = stands(worst("lost") <= 0, alone)
    assert (record.standing, record.why) == ("not_run", "the arm speed=base was not run")
    assert stands(worst("lost", at={"speed": "slow"}) <= 0, alone).standing == "holds"
    large = of_user({"size": ["large"]})
    record = stands(ratio("each", "slow", over="base") <= 2, large)
    assert (record.standing, record.why) == ("not_run", "the arm size=small speed=slow was not run")


def test_a_metric_that_no_trial_recorded_leaves_the_claim_not_run() -> None:
    record = stands(worst("torn") <= 0)
    assert (record.standing, record.why) == ("not_run", "no trial of speed=base size=small recorded torn")
    assert stands(ratio("torn", "slow", over="base") >= 1).standing == "not_run"


def test_figures_of_zero_have_no_ratio() -> None:
    assert stands(ratio("lost", "slow", over="base") >= 1).standing == "not_run"


@given(st.floats(0.1, 10.0))
def test_a_claim_and_its_opposite_never_both_hold(threshold: float) -> None:
    above = stands(ratio("each", "slow", over="base") >= threshold).standing
    below = stands(ratio("each", "slow", over="base") <= threshold).standing
    assert (above, below) in {("holds", "fails"), ("fails", "holds"), ("inconclusive", "inconclusive")}


LEVELS: Mapping[str, Any] = {"speed": ["slow", "fast"], "read": ["slow", "often"], "write": ["slow", "often"], "n": [1, 2]}


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (ratio("each", "slow", over="often") >= 1, "belong to 2 factors, not to one"),
        (ratio("each", "slow", over="sometimes") >= 1, "belong to 0 factors, not to one"),
        (worst("each", at={"speed": "fats"}) <= 1, "speaks of speed=fats, which is no level"),
        (worst("each", at={"spede": "fast"}) <= 1, "speaks of spede=fast, which is no level"),
        (worst("each", every_level="spede") <= 1, "speaks of every spede, which is no factor"),
    ],
)
def test_a_claim_that_leaves_its_factor_open_is_told_so_when_it_is_declared(comparison: Comparison, words: str) -> None:
    (sentence,) = ambiguities([Claim("c", comparison)], LEVELS)
    assert "claim 'c'" in sentence and words in sentence


def test_clear_claims_are_not_complained_of() -> None:
    claims = [Claim("a", ratio("each", "slow", over="fast", at={"n": 2}) >= 1), Claim("b", value("each", every_level="n") <= 1)]
    assert list(ambiguities(claims, LEVELS)) == []


def test_a_declaration_with_an_ambiguous_claim_contradicts_itself() -> None:
    assert contradictions(declared(Claim("c", worst("lost", at={"speed": "medium"}) <= 0))) == [
        "claim 'c' speaks of speed=medium, which is no level of any factor."
    ]
    assert contradictions(declared(Claim("c", worst("lost", at={"speed": "slow"}) <= 0))) == []
