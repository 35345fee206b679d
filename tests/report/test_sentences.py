"""What a run found is said in sentences that carry direction, size, blocks and doubt."""

from typing import Any

import msgspec
import pytest
from sample_run import sample_run

from mastery.lab.document import AdviceRecord, ArmRecord, EffectRecord, ReferenceRecord, RuleRecord, TrialRecord
from mastery.report import sentences
from mastery.report.telling import telling


def effect(**changes: Any) -> EffectRecord:
    given: dict[str, Any] = {"arm": 2, "metric": "p50", "over": 0, "ratio": 1.1, "low": 0.97, "high": 1.2, "blocks": 12}
    return EffectRecord(**{**given, **changes})


def test_the_headline_is_the_largest_decided_effect() -> None:
    assert sentences.headline(sample_run()) == "p50 is 141 times lower with sync=never than with sync=every"


def test_the_headline_of_a_quick_run_says_that_it_indicates() -> None:
    assert sentences.headline(sample_run(effects=[effect(verdict="worse", ratio=3, indication=True)])).startswith("Indication: p50")


@pytest.mark.parametrize(("verdict", "text"), [("equivalent", "p50 is the same"), ("inconclusive", "No difference in p50")])
def test_without_a_decided_effect_the_headline_claims_none(verdict: str, text: str) -> None:
    assert sentences.headline(sample_run(effects=[effect(verdict=verdict)])).startswith(text)


def test_a_run_whose_every_verdict_is_withheld_is_headed_by_that() -> None:
    withheld = [effect(verdict=None, withheld="the clock is too coarse"), effect(arm=1, verdict=None, withheld="too few blocks")]
    assert sentences.headline(sample_run(effects=withheld)) == "No verdict on p50 can be given"
    assert sentences.headline(sample_run(effects=[withheld[0], effect(verdict="inconclusive")])).startswith("No difference in p50")


def test_a_run_without_effects_is_headed_by_its_claims() -> None:
    assert sentences.headline(sample_run(effects=[])) == "1 of 2 claims holds"


def test_an_inconclusive_arm_says_how_many_more_blocks_would_settle_it() -> None:
    text = sentences.verdict(sample_run(), effect(verdict="inconclusive", blocks_needed=14))
    assert text == (
        "sync=never is inconclusive: p50 is 10 % higher than with sync=every (−3 % to +20 %, 12 blocks)."
        " About 14 more blocks would settle it, about 19 s."
    )


def test_a_number_of_blocks_that_nobody_would_run_is_not_given() -> None:
    text = sentences.verdict(sample_run(), effect(verdict="inconclusive", blocks_needed=121))
    assert text.endswith("This machine is too noisy to settle it.")


def test_a_withheld_verdict_gives_its_reason_and_no_figure() -> None:
    text = sentences.verdict(sample_run(), effect(verdict=None, withheld="fio disagrees"))
    assert text == "sync=never: no verdict: fio disagrees."


def test_an_equivalent_arm_names_the_smallest_effect_of_the_declaration() -> None:
    text = sentences.verdict(sample_run(declaration={"smallest_effect": 0.25}), effect(verdict="equivalent"))
    assert "differs by less than 25 %" in text


@pytest.mark.parametrize(("agrees", "word"), [(True, "agrees"), (False, "disagrees"), (None, "is inconclusive")])
def test_a_reference_says_whether_it_agrees(agrees: bool | None, word: str) -> None:
    record = ReferenceRecord(id="f", tool="fio", arm=0, metric="p50", blocks=8, ours=3e-4, theirs=3e-4, ratio=1.0, agrees=agrees)
    assert f"fio {word}: ours 300 µs" in sentences.reference(sample_run(), record)


def test_an_absent_reference_is_not_compared() -> None:
    record = ReferenceRecord(id="f", tool="fio", arm=0, metric="p50", why="fio is not installed")
    assert sentences.reference(sample_run(), record) == "fio: not compared: fio is not installed"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (RuleRecord(blocks=24, reason="precision", pilot=4), "24 blocks, fixed by the wanted precision after a pilot of 4"),
        (
            RuleRecord(blocks=9, reason="budget", budget_s=90, wanted=40),
            "fixed by the budget of 1 min 30 s (precision asked for 40, about 47 s)",
        ),
        (
            RuleRecord(blocks=9, reason="budget", budget_s=90, wanted=91),
            "(this machine is too noisy for the precision that was wanted), before",
        ),
        (RuleRecord(blocks=6, reason="minimum"), "6 blocks, the least that allows an interval"),
        (RuleRecord(blocks=1, reason="exact"), "Counted exactly"),
    ],
)
def test_the_rule_of_blocks_says_why_that_number(rule: RuleRecord, text: str) -> None:
    assert text in sentences.rule(sample_run(rule=rule))


def test_void_trials_are_counted_by_arm_with_their_share_and_cause() -> None:
    assert sentences.voids(sample_run()) == [
        "1 trial of 37 void: the worker was killed by signal 9. By arm: sync=group 1 of 13 (7.7 %); none in the other 2 arms."
    ]


def test_the_trials_of_a_tool_and_the_cold_one_are_in_no_arms_share_of_voids() -> None:
    kinds: list[dict[str, Any]] = [{"cold": True}, {"reference": "fio"}, {"ramp": True}]
    rows = [TrialRecord(block=0, arm=0, status="void", cause="hung.", **kind) for kind in kinds]
    assert sentences.voids(sample_run(trials=rows)) == ["3 trials of 3 void: hung."]


def test_what_the_engine_advises_on_voids_is_not_said_twice() -> None:
    advice = [AdviceRecord(code="void", text="1 of 37 trials are void (sync=group)."), *sample_run().advice]
    assert sentences.advice(sample_run(advice=advice)) == sentences.advice(sample_run())


def test_the_cold_trial_stands_beside_the_median_of_its_arm() -> None:
    first = TrialRecord(block=0, arm=0, status="ok", cold=True, metrics={"p50": 0.002})
    (said,) = sentences.cold(sample_run(trials=[first, *sample_run().trials]))
    assert said.startswith("The first trial, cold and judged nowhere: p50 2 ms with sync=every, against 3")
    assert sentences.cold(sample_run()) == []


@pytest.mark.parametrize(("reason", "said"), [("budget", []), ("minimum", ["The budget was used up before all planned"])])
def test_a_budget_that_fixed_the_blocks_is_told_by_their_rule_alone(reason: Any, said: list[str]) -> None:
    told = sentences.stopped(sample_run(stopped="budget", rule=RuleRecord(blocks=9, reason=reason, budget_s=90)))
    assert [each[:41] for each in told] == said


def test_skipped_arms_share_one_sentence_for_each_reason() -> None:
    arms = [*sample_run().arms]
    for index, level in enumerate(("a", "b", "c", "d"), start=3):
        levels = {"sync": level, "call": "fdatasync", "record": 4096}
        arms.append(ArmRecord(index=index, levels=levels, label=level, skipped="No loop device.", remedy="run as root"))
    assert sentences.skipped(sample_run(arms=arms)) == ["Not run: a, b, c and 1 more: No loop device. To run it: run as root"]


def test_orders_tried_are_never_hidden() -> None:
    told = sentences.orders(sample_run(orders_tried={"G2": [120, 1680], "G0": [20, 20]}, rule=RuleRecord(blocks=1, reason="exact")))
    assert told == ["G2: 120 of 1,680 orders tried, a seeded sample", "G0: 20 of 20 orders tried"]


def test_complete_cells_of_a_large_grid_share_one_sentence() -> None:
    tried = {f"case {index}": [20, 20] for index in range(9)} | {"sampled": [5, 1000]}
    told = sentences.orders(sample_run(orders_tried=tried))
    assert told == ["All 180 possible outcomes tried in 9 arms.", "sampled: 5 of 1,000 possible outcomes tried, a seeded sample"]


def test_a_run_that_counts_losses_is_headed_by_its_worst_arm() -> None:
    metrics = [msgspec.structs.replace(each, primary=each.name == "at_risk") for each in sample_run().metrics]
    document = sample_run(metrics=metrics, effects=[])
    assert sentences.headline(document) == "at_risk: up to 81,896 records with sync=never, none in 2 of 3 arms"


def test_an_interrupted_run_says_so_first_among_the_doubts() -> None:
    doubts = next(each for each in telling(sample_run(stopped="interrupted")) if each.heading == "How far to trust it")
    assert "interrupted" in doubts.lines[0].text


def test_each_claim_carries_its_standing_as_a_word() -> None:
    claims = next(each for each in telling(sample_run()) if each.heading == "Claims")
    assert [line.word for line in claims.lines] == ["holds", "fails", "not run"]
    assert claims.lines[0].detail == "measured 7.6 (7.3 to 8)"
