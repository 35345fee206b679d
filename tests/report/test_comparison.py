import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stored_runs import MACHINE, a_run, estimate, guardrail

from mastery.errors import UsageError
from mastery.lab.document import ArmRecord, ComponentRecord, FrontierRecord, RunDocument
from mastery.report.comparison import Change, Comparison, Difference, compare


def run_of(id: str, p50_s: float, **changes: Any) -> RunDocument:
    """A run whose baseline has this p50."""
    return a_run(id, estimates=[estimate(0, "p50", p50_s), estimate(1, "p50", 0.001)], **changes)


def of(comparison: Comparison, label: str, metric: str) -> Difference:
    (found,) = [each for each in comparison.differences if (each.arm.label, each.metric.name) == (label, metric)]
    return found


def codes(comparison: Comparison) -> list[str]:
    return [each.code for each in comparison.cautions]


EARLIER = [run_of(f"earlier-{number}", value) for number, value in enumerate([0.0040, 0.0042, 0.0041, 0.0039])]


def test_two_runs_are_compared_arm_by_arm_with_both_intervals() -> None:
    comparison = compare(run_of("a", 0.004), run_of("b", 0.006))
    difference = of(comparison, "sync=every", "p50")
    assert difference.ratio == pytest.approx(1.5)
    assert difference.first is not None
    assert difference.second is not None
    assert difference.first.value == 0.004
    assert (difference.second.low, difference.second.high) == (pytest.approx(0.006 / 1.05), pytest.approx(0.006 * 1.05))
    assert difference.second_effect is None
    assert of(comparison, "sync=group", "p50").first_effect == a_run().effect(1, "p50")


def test_without_earlier_runs_there_is_no_verdict_however_large_the_difference() -> None:
    for earlier in ([], EARLIER[:2]):
        difference = of(compare(run_of("a", 0.004), run_of("b", 4.0), earlier=earlier), "sync=every", "p50")
        assert difference.change is Change.UNKNOWN
        assert difference.spread is None


def test_earlier_runs_of_the_same_machine_give_the_verdict() -> None:
    for value, expected in [(0.0042, Change.WITHIN), (0.0060, Change.BEYOND), (0.0025, Change.BEYOND)]:
        comparison = compare(run_of("a", 0.004), run_of("b", value), earlier=EARLIER)
        assert comparison.earlier == 4
        assert of(comparison, "sync=every", "p50").change is expected


def test_the_spread_is_the_prediction_of_a_difference_by_student_shared_out_over_the_arms() -> None:
    difference = of(compare(run_of("a", 0.004), run_of("b", 0.006), earlier=EARLIER), "sync=every", "p50")
    logs = [math.log(value) for value in (0.0040, 0.0042, 0.0041, 0.0039)]
    mean = sum(logs) / 4
    deviation = math.sqrt(sum((each - mean) ** 2 for each in logs) / 3)
    assert difference.spread is not None
    assert difference.spread.runs == 4
    expected = math.exp(stats.t.ppf(1 - 0.05 / 3 / 2, 3) * deviation * math.sqrt(2))
    assert difference.spread.factor == pytest.approx(expected)


def test_only_the_primary_metric_gets_a_verdict() -> None:
    earlier = [a_run(f"e{number}") for number in range(4)]
    comparison = compare(a_run("a"), a_run("b"), earlier=earlier)
    assert of(comparison, "sync=every", "p50").change is Change.WITHIN
    throughput = of(comparison, "sync=every", "throughput")
    assert (throughput.change, throughput.spread is not None) == (Change.UNKNOWN, True)


def test_earlier_runs_that_were_made_otherwise_do_not_count() -> None:
    others = [
        run_of("mode", 0.004, mode="normal"),
        run_of("machine", 0.004, machine={**MACHINE, "fingerprint": "another"}),
        run_of("source", 0.004, declaration={"source": "6" * 64}),
        run_of("target", 0.004, target="staging"),
        run_of("stopped", 0.004, stopped="interrupted"),
        run_of("a", 0.004),
        run_of("b", 0.004),
    ]
    comparison = compare(run_of("a", 0.004), run_of("b", 0.006), earlier=[*others, *EARLIER[:2]])
    assert comparison.earlier == 2
    assert of(comparison, "sync=every", "p50").change is Change.UNKNOWN


def test_the_spread_of_one_machine_says_nothing_about_another() -> None:
    other = run_of("b", 0.006, machine={**MACHINE, "fingerprint": "another"})
    comparison = compare(run_of("a", 0.004), other, earlier=EARLIER)
    assert of(comparison, "sync=every", "p50").change is Change.UNKNOWN
    assert codes(comparison) == ["other-machine"]


def test_a_change_of_the_code_is_named_and_may_be_judged() -> None:
    comparison = compare(run_of("a", 0.004), run_of("b", 0.006, declaration={"source": "6" * 64}), earlier=EARLIER)
    assert codes(comparison) == ["other-source"]
    assert of(comparison, "sync=every", "p50").change is Change.BEYOND


def test_everything_else_that_differs_is_named() -> None:
    postgres = ComponentRecord(name="postgres", how="embedded", version="16.2", configuration={"fsync": "on"})
    first = run_of(
        "a", 0.004, components=[postgres], machine={**MACHINE, "kernel": "Linux 6.1", "interpreter": {"version": "3.11.7"}}
    )
    second = run_of(
        "b",
        0.004,
        components=[ComponentRecord(name="postgres", how="embedded", version="17.0"), ComponentRecord(name="valkey", how="os")],
        machine={**MACHINE, "kernel": "Linux 6.18", "interpreter": {"version": "3.12.1"}},
        package="0.2.0",
        mode="normal",
        target="staging",
        stopped="interrupted",
    )
    comparison = compare(first, second)
    assert sorted(set(codes(comparison))) == ["interrupted", "other-mode", "other-target", "other-version"]
    told = " ".join(each.text for each in comparison.cautions)
    for part in ("mastery: 0.1.0", "Linux 6.18", "3.12.1", "16.2 (embedded)", "valkey: absent", "no version (os)", "staging"):
        assert part in told
    again = run_of("c", 0.004, components=[ComponentRecord(name="postgres", how="embedded", version="16.2")], machine=first.machine)
    assert [each.text for each in compare(first, again).cautions] == ["postgres: fsync=on in one run, fsync=unset in the other."]


def test_arms_are_matched_by_their_levels_not_by_their_numbers() -> None:
    arms = [
        ArmRecord(index=0, levels={"sync": "group"}, label="sync=group", baseline=True),
        ArmRecord(index=1, levels={"sync": "every"}, label="sync=every"),
    ]
    second = a_run(
        "b", arms=arms, trials=[], guardrails=[], effects=[], estimates=[estimate(1, "p50", 0.008)],
        frontier=FrontierRecord(metrics=["p50"], arms=[1], share={}),
    )  # fmt: skip
    comparison = compare(a_run("a"), second)
    assert of(comparison, "sync=every", "p50").ratio == pytest.approx(2.0)
    assert of(comparison, "sync=group", "p50").second is None
    assert [arm.label for arm in comparison.only_first] == ["sync=never"]
    assert comparison.only_second == ()


def test_guardrails_are_compared_by_their_worst_trial_and_a_zero_has_no_ratio() -> None:
    second = a_run("b", guardrails=[guardrail(0), guardrail(2, maximum=450)])
    comparison = compare(a_run("a"), second)
    assert of(comparison, "sync=never", "at_risk").ratio == 0.5
    assert of(comparison, "sync=every", "at_risk").ratio is None


def test_runs_of_different_experiments_or_the_same_run_are_refused() -> None:
    with pytest.raises(UsageError, match="is of fsync-cost, run b of rename-dance"):
        compare(a_run("a"), a_run("b", experiment="rename-dance"))
    with pytest.raises(UsageError, match="with itself"):
        compare(a_run("a"), a_run("a"))


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(1e-6, 10), min_size=5, max_size=9))
def test_swapping_two_runs_inverts_the_ratio_and_keeps_the_verdict(values: list[float]) -> None:
    first, second, *rest = (run_of(f"r{number}", value) for number, value in enumerate(values))
    there = of(compare(first, second, earlier=rest), "sync=every", "p50")
    back = of(compare(second, first, earlier=rest), "sync=every", "p50")
    assert there.ratio is not None
    assert back.ratio is not None
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.spread == back.spread
    if there.spread is not None and abs(abs(math.log(there.ratio)) - math.log(there.spread.factor)) > 1e-9:
        assert there.change is back.change
