"""Guardrails are told by their worst trial; absences share one sentence, and what was modelled promises no frequency."""

from typing import Any

import msgspec
from sample_run import sample_run

from mastery.lab.document import GuardrailRecord, RunDocument
from mastery.report.guardrails import guardrail, guardrails


def record(arm: int, metric: str = "at_risk", **changes: Any) -> GuardrailRecord:
    given: dict[str, Any] = {"trials": 20, "trials_with_any": 0, "maximum": 0, "minimum": 0, "total": 0, "share_at_most": 0.139}
    return GuardrailRecord(arm=arm, metric=metric, **{**given, **changes})


def with_modelled_arm(arm: int, **changes: Any) -> RunDocument:
    rows = [msgspec.structs.replace(each, notes={"model": "posix"}) if each.arm == arm else each for each in sample_run().trials]
    return sample_run(trials=rows, **changes)


def test_an_absence_says_what_it_still_allows() -> None:
    told = guardrails(sample_run(guardrails=[record(0)]))
    assert told == ["No at_risk in sync=every, 20 trials; up to 14 % of trials could still show some."]


def test_all_absences_share_one_sentence_after_the_violations() -> None:
    violated = record(2, trials_with_any=20, maximum=9)
    told = guardrails(sample_run(guardrails=[record(0), record(1), violated, record(0, "p99"), record(1, "p99"), record(2, "p99")]))
    assert told == [
        "sync=never: at_risk in 20 of 20 trials, at worst 9 records.",
        "No at_risk in the other 2 arms, no p99 in all 3 arms, 20 trials each; up to 14 % of trials could still show some.",
    ]


def test_with_unequal_numbers_of_trials_the_weakest_bound_is_told() -> None:
    (told,) = guardrails(sample_run(guardrails=[record(0), record(1, trials=6, share_at_most=0.393)]))
    assert told == "No at_risk in both arms, 6 to 20 trials each; up to 39 % of trials could still show some."


def test_a_guardrail_is_told_by_its_worst_trial_in_the_bad_direction() -> None:
    low = record(2, "throughput", trials=5, trials_with_any=5, maximum=900, minimum=10)
    assert "at worst 10 op/s" in guardrail(sample_run(), low)


def test_what_was_modelled_promises_nothing_about_how_often() -> None:
    document = with_modelled_arm(2, guardrails=[record(2, trials_with_any=20, maximum=9), record(2, "p99")])
    told = guardrails(document)
    assert told == [
        "sync=never (modelled): at_risk, 9 records in the worst state: a possibility, no frequency.",
        "No p99 in sync=never (modelled): no state that was modelled shows any.",
    ]
    assert "could still show" not in " ".join(told)


def test_where_a_run_has_both_kinds_each_is_counted_as_what_it_is() -> None:
    document = with_modelled_arm(2, guardrails=[record(0), record(1), record(2), record(2, "p99", trials_with_any=1, maximum=3)])
    assert guardrails(document)[1:] == [
        "No at_risk in both measured arms, 20 trials each; up to 14 % of trials could still show some.",
        "No at_risk in sync=never (modelled): no state that was modelled shows any.",
    ]


def test_nothing_measured_is_nothing_said() -> None:
    assert guardrails(sample_run(guardrails=[record(0, trials=0)])) == []
