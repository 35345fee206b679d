import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import a_run, estimate, guardrail, trial

from mastery.errors import HostileImport, UnknownName, UsageError
from mastery.lab.claim import Relation
from mastery.lab.document import ArmRecord, Estimate, FactorRecord, MetricRecord, RuleRecord, RunDocument
from mastery.report.decide import Answer, Direction, check_requirement, decide
from mastery.report.need import parse_need
from mastery.report.reach import Sureness
from mastery.report.sourced import Provenance, SourcedRun

HERE = "0123456789abcdef"


def ask(document: RunDocument, *texts: str, **more: Any) -> Answer:
    return decide(SourcedRun(document), [parse_need(text, document) for text in texts], here=HERE, **more)


def sureness_of(answer: Answer) -> dict[str, str]:
    return {each.arm.label: each.sureness.value for each in answer.arms}


@pytest.mark.parametrize(
    ("text", "metric", "relation", "threshold"),
    [
        ("p50 <= 5 ms", "p50", Relation.AT_MOST, 0.005),
        ("p50<=5ms", "p50", Relation.AT_MOST, 0.005),
        ("p50 ≤ 250 us", "p50", Relation.AT_MOST, 0.00025),
        ("p50 <= 250 µs", "p50", Relation.AT_MOST, 0.00025),
        ("p50 <= 5e3 ns", "p50", Relation.AT_MOST, 5e-6),
        ("throughput >= 2000 op/s", "throughput", Relation.AT_LEAST, 2000.0),
        ("throughput ≥ 2_000 ops/s", "throughput", Relation.AT_LEAST, 2000.0),
        ("at_risk <= 100", "at_risk", Relation.AT_MOST, 100.0),
        ("at_risk <= 100 records", "at_risk", Relation.AT_MOST, 100.0),
        ("at_risk <= 1 record", "at_risk", Relation.AT_MOST, 1.0),
    ],
)
def test_a_need_is_read_in_the_unit_of_its_metric(text: str, metric: str, relation: Relation, threshold: float) -> None:
    need = parse_need(text, a_run())
    assert (need.metric, need.relation, need.selector) == (metric, relation, {})
    assert need.threshold == pytest.approx(threshold, rel=1e-12)


def test_sizes_rates_and_shares_are_converted() -> None:
    metrics = [
        MetricRecord(name="written", unit="B", better="lower", role="cost", primary=True),
        MetricRecord(name="speed", unit="B/s", better="higher", role="response"),
        MetricRecord(name="hit.rate", unit="share", better="higher", role="response"),
        MetricRecord(name="factor", unit="", better="lower", role="response"),
    ]
    document = a_run(metrics=metrics, estimates=[], guardrails=[], effects=[], frontier=None)
    for text, threshold in [
        ("written <= 1.5 KiB", 1536),
        ("written <= 2 GiB", 2 * 2**30),
        ("speed >= 10 MB/s", 1e7),
        ("hit.rate >= 99 %", 0.99),
        ("hit.rate >= 0.99", 0.99),
        ("factor <= 3", 3),
    ]:
        assert parse_need(text, document).threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("p50 < 5 ms", "cannot be read", "METRIC <= NUMBER UNIT"),
        ("p50 <= fast", "cannot be read", "METRIC <= NUMBER UNIT"),
        ("", "cannot be read", "METRIC <= NUMBER UNIT"),
        ("p50 <= 5", "has no unit, but p50 is in s", "ms"),
        ("p50 <= 5 MiB", "has the unit 'MiB', but p50 is in s", "ms"),
        ("throughput >= 5 ms", "is in op/s", "op/s"),
        ("at_risk <= 5 ms", "is in record", "record"),
        ("p50 <= 1e999 s", "too large", "METRIC"),
        ("p99 <= 5 ms", "no metric 'p99'", "Metrics of fsync-cost: p50, throughput, at_risk"),
        ("sync=evry: p50 <= 5 ms", "no level of sync 'evry'. Did you mean 'every'", "every, group, never"),
        ("call=x: p50 <= 5 ms", "no factor 'call'", "sync"),
        ("every: p50 <= 5 ms", "selector 'every' cannot be read", "FACTOR=LEVEL"),
    ],
)
def test_a_need_that_cannot_be_meant_names_what_is_known(text: str, said: str, remedy: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_need(text, a_run())
    assert said in refusal.value.message
    assert remedy in refusal.value.remedy


def test_the_best_of_those_that_satisfy_is_recommended() -> None:
    answer = ask(a_run(), "p50 <= 5 ms", "at_risk <= 100")
    assert sureness_of(answer) == {"sync=every": "probably", "sync=group": "probably", "sync=never": "no"}
    assert answer.recommended is not None
    assert answer.recommended.arm.label == "sync=group"
    assert answer.sureness is Sureness.PROBABLY, "six trials without any say little about the seventh"
    assert "up to 39 % of trials may still be worse" in answer.recommended.reaches[1].why


def test_sixty_trials_without_any_are_sure() -> None:
    document = a_run(guardrails=[guardrail(0, trials=60), guardrail(1, trials=58), guardrail(2, trials=60, maximum=900)])
    answer = ask(document, "p50 <= 5 ms", "at_risk <= 100")
    assert sureness_of(answer) == {"sync=every": "surely", "sync=group": "probably", "sync=never": "no"}
    assert answer.recommended is not None
    assert answer.recommended.arm.label == "sync=every", "a sure arm comes before a faster one that is only probable"


def test_responses_are_asked_for_the_next_run_not_for_the_median() -> None:
    # sync=every: 4 ms now, the next run between 3.64 and 4.4 ms.
    for threshold, expected in [("4.5", "surely"), ("4.2", "probably"), ("3.8", "probably not"), ("3.5", "no")]:
        assert sureness_of(ask(a_run(), f"p50 <= {threshold} ms"))["sync=every"] == expected
    for threshold, expected in [("220", "surely"), ("240", "probably"), ("260", "probably not"), ("280", "no")]:
        assert sureness_of(ask(a_run(), f"throughput >= {threshold} op/s"))["sync=every"] == expected


def test_a_guardrail_is_judged_by_its_worst_trial_never_by_its_median() -> None:
    document = a_run(guardrails=[guardrail(0, trials=14, trials_with_any=1, maximum=40, total=40)])
    assert sureness_of(ask(document, "at_risk <= 39"))["sync=every"] == "no"
    assert sureness_of(ask(document, "at_risk <= 40"))["sync=every"] == "probably"


def test_the_documented_bound_outweighs_the_trials() -> None:
    # Fourteen kills lost at most 40 commits where the documentation allows 2,560.
    documented = [{"metric": "at_risk", "source": "manual 20.5", "bound": 2560, "levels": {"sync": "group"}}]
    document = a_run(declaration={"documented": documented}, guardrails=[guardrail(1, trials=14, maximum=40)])
    answer = ask(document, "at_risk <= 100")
    assert sureness_of(answer)["sync=group"] == "no"
    assert "documented: 2,560 records (manual 20.5)" in answer.arms[1].reaches[0].why
    assert sureness_of(ask(document, "at_risk <= 2560"))["sync=group"] == "surely"


def test_what_is_documented_as_without_limit_satisfies_no_limit() -> None:
    document = a_run(declaration={"documented": [{"metric": "at_risk", "source": "no flush", "levels": {"sync": "never"}}]})
    answer = ask(document, "at_risk <= 1000000")
    assert sureness_of(answer)["sync=never"] == "no"
    assert all(math.isfinite(flip.threshold) for flip in answer.flips)


def test_documented_bounds_of_a_stranger_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(HostileImport, match="documented bounds"):
        ask(a_run(declaration={"documented": [{"metric": 3}]}), "at_risk <= 1")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"next_low": None, "next_high": None}, "too few to say"),
        ({"withheld": "120 samples; p99 is shown from 400", "value": 0.0}, "withheld: 120 samples"),
    ],
)
def test_what_is_not_known_is_said_to_be_unknown(changes: dict[str, Any], why: str) -> None:
    document = a_run(estimates=[msgspec.structs.replace(estimate(0, "p50", 0.004), **changes)])
    answer = ask(document, "p50 <= 1 s")
    assert sureness_of(answer) == dict.fromkeys(["sync=every", "sync=group", "sync=never"], "unknown")
    assert why in answer.arms[0].reaches[0].why
    assert "not measured" in answer.arms[1].reaches[0].why
    assert answer.recommended is None


def test_a_skipped_arm_is_unknown_for_its_reason() -> None:
    arms = [*a_run().arms[:2], ArmRecord(index=2, levels={"sync": "never"}, label="sync=never", skipped="no disk")]
    answer = ask(a_run(arms=arms), "p50 <= 1 s")
    assert answer.arms[2].reaches[0].why == "not run: no disk"
    assert answer.arms[2].sureness is Sureness.UNKNOWN


def test_counted_figures_are_sure_as_they_are() -> None:
    document = a_run(
        rule=RuleRecord(blocks=1, reason="exact"), estimates=[Estimate(arm=arm, metric="p50", value=arm + 1.0) for arm in range(3)]
    )
    answer = ask(document, "p50 <= 2 s")
    assert sureness_of(answer) == {"sync=every": "surely", "sync=group": "surely", "sync=never": "no"}
    assert answer.recommended is not None
    assert answer.recommended.arm.index == 0
    assert answer.ties == ()


def test_arms_that_cannot_be_told_apart_are_ties() -> None:
    crossed = [
        trial(block, arm, metrics={"p50": 0.001 * (1 + 0.1 * ((block + arm) % 2))}) for block in range(8) for arm in range(2)
    ]
    document = a_run(trials=crossed, estimates=[estimate(0, "p50", 0.00104), estimate(1, "p50", 0.00105)])
    answer = ask(document, "p50 <= 5 ms")
    assert answer.recommended is not None
    assert answer.recommended.arm.index == 0
    (tie,) = answer.ties
    assert (tie.arm.index, tie.share) == (1, 1.0)
    assert tie.why == "the paired ratio over 8 blocks includes 1"


def test_a_small_but_steady_difference_is_no_tie_though_the_intervals_overlap() -> None:
    steady = [
        trial(block, arm, metrics={"p50": 0.001 * (1 + block) * (1.02 if arm else 1)}) for block in range(8) for arm in range(2)
    ]
    document = a_run(trials=steady, estimates=[estimate(0, "p50", 0.00104), estimate(1, "p50", 0.00105)])
    assert ask(document, "p50 <= 5 ms").ties == ()


def test_only_an_arms_own_good_trials_tell_it_from_another() -> None:
    steady = [
        trial(block, arm, metrics={"p50": 0.001 * (1 + block) * (1.02 if arm else 1)}) for block in range(8) for arm in range(2)
    ]
    strange = [
        trial(block, arm, metrics={"p50": 100.0 if arm == 0 else 1e-6}, **mark)
        for mark in ({"cold": True}, {"placebo": True}, {"reference": "fio"}, {"status": "void", "cause": "hung"})
        for block in range(4)
        for arm in range(2)
    ]
    estimates = [estimate(0, "p50", 0.00104), estimate(1, "p50", 0.00105)]
    for trials in ([*steady, *strange], [*strange, *steady]):
        assert ask(a_run(trials=trials, estimates=estimates), "p50 <= 5 ms").ties == ()


def test_where_more_is_better_the_greatest_is_recommended() -> None:
    metrics = [msgspec.structs.replace(each, primary=each.name == "throughput") for each in a_run().metrics]
    answer = ask(a_run(metrics=metrics), "throughput >= 10 op/s", "at_risk <= 100")
    assert answer.recommended is not None
    assert answer.recommended.arm.label == "sync=group"


def test_a_pooled_percentile_beyond_what_the_trials_predict_is_not_called_sure() -> None:
    beyond = Estimate(arm=0, metric="p50", value=0.006, low=0.005, high=0.007, trials=9, next_low=0.004, next_high=0.005)
    document = a_run(estimates=[beyond])
    assert sureness_of(ask(document, "p50 <= 5.5 ms"))["sync=every"] == "probably not"
    assert sureness_of(ask(document, "p50 <= 6 ms"))["sync=every"] == "surely"


def test_without_enough_blocks_overlapping_intervals_make_a_tie() -> None:
    document = a_run(trials=[], estimates=[estimate(0, "p50", 0.00104), estimate(1, "p50", 0.00105), estimate(2, "p50", 0.003)])
    assert [(tie.arm.index, tie.why) for tie in ask(document, "p50 <= 5 ms").ties] == [(1, "their intervals overlap")]


def test_it_says_what_would_flip_the_answer() -> None:
    answer = ask(a_run(), "p50 <= 5 ms", "at_risk <= 100")
    told = {(flip.need.metric, flip.direction): flip for flip in answer.flips}
    # Fewer than no records at risk cannot be asked for.
    assert ("at_risk", Direction.TIGHTER) not in told
    looser = told["at_risk", Direction.LOOSER]
    assert (looser.threshold, looser.arm.label) == (900, "sync=never")
    assert looser.then == looser.arm
    p50 = told["p50", Direction.TIGHTER]
    assert (p50.threshold, p50.then) == (0.001, None)


@pytest.mark.parametrize(("unit", "bound", "possible"), [("share", 0.99, True), ("share", 1.0, False), ("%", 100.0, False)])
def test_no_share_above_the_whole_would_flip_the_answer(unit: str, bound: float, possible: bool) -> None:
    metrics = [MetricRecord(name="hits", unit=unit, better="higher", role="response", primary=True)]
    figures = [Estimate(arm=0, metric="hits", value=bound, next_low=bound, next_high=bound)]
    document = a_run(metrics=metrics, estimates=figures, guardrails=[], effects=[], frontier=None)
    tighter = [flip for flip in ask(document, "hits >= 50 %").flips if flip.direction is Direction.TIGHTER]
    assert bool(tighter) is possible


def test_when_nothing_satisfies_it_names_the_nearest_loser() -> None:
    answer = ask(a_run(), "p50 <= 10 us")
    assert answer.recommended is None
    assert answer.sureness is Sureness.NO
    (flip,) = answer.flips
    assert (flip.arm.label, flip.direction, flip.threshold) == ("sync=never", Direction.LOOSER, 0.0001)


def test_runs_from_elsewhere_are_labelled() -> None:
    document = a_run()
    needs = [parse_need("p50 <= 5 ms", document)]
    for provenance in (Provenance.IMPORTED, Provenance.REFERENCE):
        answer = decide(SourcedRun(document, provenance), needs, here=HERE)
        assert "not-yours" in [each.code for each in answer.cautions]
        assert provenance in answer.cautions[0].text
    other = decide(SourcedRun(document), needs, here="another")
    assert "other-machine" in [each.code for each in other.cautions]
    assert [each.code for each in ask(a_run(mode="normal"), "p50 <= 5 ms").cautions] == []


def test_void_trials_and_an_interrupted_run_are_cautions() -> None:
    void = [trial(block, 1, status="void", cause="hung") for block in range(3)]
    answer = ask(a_run(mode="normal", stopped="interrupted", trials=[*a_run().trials, *void]), "p50 <= 5 ms")
    assert [each.code for each in answer.cautions] == ["interrupted", "voids"]
    assert answer.cautions[1].text.startswith("33 % of the trials of sync=group are void")


def test_deciding_needs_a_need_and_takes_no_selector() -> None:
    with pytest.raises(UsageError, match="no need"):
        ask(a_run())
    with pytest.raises(UsageError, match="choosing among them"):
        ask(a_run(), "sync=every: p50 <= 5 ms")


def required(text: str, document: RunDocument | None = None) -> bool:
    document = document or a_run()
    return check_requirement(document, parse_need(text, document)).held


def test_a_requirement_asks_the_baseline_or_the_selected_arms_all_of_them() -> None:
    assert required("p50 <= 4 ms")
    assert not required("p50 <= 3.9 ms"), "the baseline is sync=every"
    assert required("sync=group: p50 <= 1 ms")
    assert not required("sync=never: at_risk <= 100")
    assert required("sync=never: at_risk <= 900")


def test_a_selector_of_several_arms_needs_all_of_them() -> None:
    arms = [
        ArmRecord(index=i, levels={"sync": "every", "record": size}, label=f"{size}", baseline=i == 0)
        for i, size in enumerate([1, 2])
    ]
    factors = [
        FactorRecord(name="sync", levels=["every"], baseline="every"),
        FactorRecord(name="record", levels=[1, 2], baseline=1),
    ]
    document = a_run(
        arms=arms, factors=factors, estimates=[estimate(0, "p50", 1.0), estimate(1, "p50", 2.0)], guardrails=[], effects=[],
        trials=[], frontier=None,
    )  # fmt: skip
    assert required("p50 <= 1 s", document)
    assert not required("sync=every: p50 <= 1 s", document)
    assert required("sync=every, record=1: p50 <= 1 s", document)
    with pytest.raises(UnknownName):
        required("sync=every, record=3: p50 <= 1 s", document)


def test_a_requirement_on_what_was_not_measured_does_not_hold() -> None:
    document = a_run(estimates=[])
    outcome = check_requirement(document, parse_need("p50 <= 1 s", document))
    assert not outcome.held
    assert outcome.arms[0][2] == "p50 was not measured"


figures = st.tuples(st.integers(1, 9), st.integers(0, 3), st.integers(1, 60), st.integers(0, 5))


@settings(max_examples=200, deadline=None)
@given(arms=st.lists(figures, min_size=1, max_size=4), p50=st.integers(1, 10), risk=st.integers(0, 5))
def test_every_flip_really_flips_the_answer(arms: list[tuple[int, int, int, int]], p50: int, risk: int) -> None:
    records = [ArmRecord(index=i, levels={"n": i}, label=f"n={i}", baseline=i == 0) for i in range(len(arms))]
    estimates = [
        Estimate(arm=i, metric="p50", value=float(value), low=value / 2, high=value * 2, trials=9,
                 next_low=float(value - spread), next_high=float(value + spread))
        for i, (value, spread, _, _) in enumerate(arms)
    ]  # fmt: skip
    guardrails = [guardrail(i, trials=trials, maximum=worst) for i, (_, _, trials, worst) in enumerate(arms)]
    document = a_run(
        arms=records, estimates=estimates, guardrails=guardrails, effects=[], trials=[], frontier=None,
        factors=[FactorRecord(name="n", levels=list(range(len(arms))), baseline=0)],
    )  # fmt: skip
    asked = {"p50": float(p50), "at_risk": float(risk)}

    def answer_to(thresholds: dict[str, float]) -> Answer:
        return ask(document, f"p50 <= {thresholds['p50']!r} s", f"at_risk <= {thresholds['at_risk']!r}")

    answer = answer_to(asked)
    now = (answer.recommended and answer.recommended.arm.index, answer.sureness)
    # The dumb twin: the best figure among those whose every bound lies within the thresholds.
    sure = [
        i for i, (value, spread, trials, worst) in enumerate(arms)
        if value + spread <= p50 and worst <= risk and 1 - 0.05 ** (1 / trials) <= 0.05
    ]  # fmt: skip
    likely = [i for i, (value, _, _, worst) in enumerate(arms) if value <= p50 and worst <= risk]
    expected = min(sure or likely, key=lambda i: (arms[i][0], i), default=None)
    assert now[0] == expected
    for flip in answer.flips:
        moved = flip.threshold if flip.direction is Direction.LOOSER else math.nextafter(flip.threshold, -math.inf)
        if moved < 0:
            moved = -1.0
        then = answer_to({**asked, flip.need.metric: moved})
        assert (then.recommended and then.recommended.arm.index, then.sureness) != now
        assert (then.recommended.arm if then.recommended else None) == flip.then
        assert then.sureness is flip.sureness
        if flip.direction is Direction.TIGHTER:
            held = answer_to({**asked, flip.need.metric: flip.threshold})
            assert held.recommended is not None, "at the threshold itself the recommended arm still satisfies"
