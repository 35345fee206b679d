"""A run whose process was killed: judged from its stored trials, it says what the loop would have said."""

import math
from collections.abc import Callable, Generator
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mastery.lab.claim import Claim, ratio, worst
from mastery.lab.document import ArmRecord, RunDocument, TrialRecord, canonical, decode
from mastery.lab.event import Judged
from mastery.lab.experiment import Experiment, Factor, Metric, experiment
from mastery.lab.histogram import Histogram
from mastery.lab.plan import Header, Plan, Task
from mastery.lab.planning import Mode
from mastery.lab.recovery import begun, close_killed
from mastery.lab.reference import Reference
from mastery.lab.run import perform

FINISHED = "2026-01-01T00:01:00Z"


class Tool:
    name = "tool"

    def find(self) -> Any:
        raise AssertionError("a killed run asks no tool")

    def serves(self, levels: Any) -> bool:
        return True

    def measure(self, levels: Any, addresses: Any, *, seconds: float) -> float:
        raise AssertionError("a killed run measures nothing")


@experiment(
    id="fake",
    question="Does it?",
    factors=[Factor("speed", ["base", "slow", "same"], "base", meaning="how fast"), Factor("n", [1, 2], 1, unit="B")],
    only=lambda arm: arm.n == 1,
    metrics=[
        Metric("each", "s", primary=True, meaning="one operation"),
        Metric("lost", "record", role="guardrail"),
        Metric("spent", "J", role="cost"),
    ],
    claims=[Claim("slow-is-slow", ratio("each", "slow", over="base") >= 2), Claim("nothing-lost", worst("lost") <= 0)],
    references=[Reference("tool-agrees", Tool(), metric="each")],
    smallest_effect=0.2,
)
def fake(arm: Any) -> Generator[Any, Any, None]:
    yield lambda _: None


def plan_of(declared: Experiment = fake, *, references: bool = True) -> Plan:
    header = Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0", machine={"cpu": "x"}, noise={"overshoot": 1})
    *run, last = declared.arms()
    skipped = ArmRecord(index=last.index, levels=dict(last.levels), label=last.label(), skipped="no disk", remedy="find one")
    beside = ((declared.references[0], 0),) if references and declared.references else ()
    return Plan(declared, header, Mode.NORMAL, 7, 0.2, 60.0, tuple(run), (skipped,), beside)


def answering(void: Callable[[Task], bool], *, stop_after: int | None) -> Callable[[Task], tuple[TrialRecord, None]]:
    random = Random(5)
    count = 0

    def start(task: Task) -> tuple[TrialRecord, None]:
        nonlocal count
        if count == stop_after:
            raise KeyboardInterrupt
        count += 1
        figure = (0.03 if task.slot.arm == 1 else 0.01) * math.exp(random.gauss(0, 0.05))
        metrics = {"each": figure} if task.slot.reference else {"each": figure, "lost": float(task.slot.arm), "spent": 2.0}
        is_void = void(task)
        record = TrialRecord(
            block=task.block,
            arm=task.slot.arm,
            status="void" if is_void else "ok",
            cause="killed by SIGSEGV" if is_void else None,
            placebo=task.slot.placebo,
            cold=task.cold,
            reference=task.slot.reference,
            metrics={} if is_void else metrics,
        )
        return record, None

    return start


def interrupted(plan: Plan, *, after: int, void: Callable[[Task], bool] = lambda _: False) -> RunDocument:
    """What the loop makes of it when it is interrupted instead of killed."""
    events = list(perform(plan, answering(void, stop_after=after), lambda: 0.0, finished=lambda: FINISHED))
    assert isinstance(events[-1], Judged)
    return events[-1].document


def killed(plan: Plan, trials: list[TrialRecord], *, known: Experiment | None = fake) -> RunDocument:
    """What is made of the same trials by another process, from the JSON that was stored."""
    body = msgspec.json.decode(msgspec.json.encode(begun(plan, name="fake")))
    return close_killed(body, [(trial, None) for trial in trials], known, finished=FINISHED)


def same_but_for_the_rule(one: RunDocument, other: RunDocument) -> bool:
    """The reason of the number of blocks and the times of events are the loop's alone; they die with it."""
    rule = msgspec.structs.replace(one.rule, blocks=other.rule.blocks)
    events = {each["event"] for each in [*one.events, *other.events]}
    assert {"killed"} <= events <= {"blocks-fixed", "interrupted", "killed"}
    bare = msgspec.structs.replace(other, hash=one.hash, rule=rule, events=one.events)
    # A reference without a trial has a reason of its own in either document.
    if not any(trial.reference for trial in one.trials):
        bare = msgspec.structs.replace(bare, references=one.references)
    return bare == one


@pytest.mark.parametrize("after", [6, 20, 21, 22, 23, 24, 25, 31, 36])
def test_a_killed_run_is_judged_like_an_interrupted_one_wherever_it_was_killed(after: int) -> None:
    plan = plan_of()
    expected = interrupted(plan, after=after)
    assert len(expected.trials) == after
    found = killed(plan, expected.trials)
    assert same_but_for_the_rule(found, expected)
    assert found.stopped == "interrupted"
    assert decode(canonical(found)) == found


def is_void(task: Task, arm: int, blocks: set[int]) -> bool:
    return task.slot.arm == arm and task.block in blocks and task.slot.reference is None and not task.cold


@given(after=st.integers(1, 60), arm=st.integers(0, 1), blocks=st.sets(st.integers(0, 8)))
def test_void_trials_and_arms_that_were_given_up_are_judged_alike(after: int, arm: int, blocks: set[int]) -> None:
    plan = plan_of(references=False)
    expected = interrupted(plan, after=after, void=lambda task: is_void(task, arm, blocks))
    assume(expected.stopped == "interrupted")
    assert same_but_for_the_rule(killed(plan, expected.trials), expected)


def test_an_arm_that_was_given_up_does_not_take_the_later_blocks_with_it() -> None:
    plan = plan_of()
    document = killed(plan, interrupted(plan, after=60, void=lambda task: task.slot.arm == 1).trials)
    assert document.rule.blocks >= 6
    estimate = document.estimate(0, "each")
    assert estimate is not None and estimate.trials == document.rule.blocks


def test_the_references_of_a_killed_run_are_judged_and_those_without_a_trial_say_so() -> None:
    plan = plan_of()
    (agreeing,) = killed(plan, interrupted(plan, after=41).trials).references
    assert agreeing.id == "tool-agrees" and agreeing.ratio == pytest.approx(1.0, abs=0.1)
    alone = plan_of(references=False)
    (absent,) = killed(alone, interrupted(alone, after=30).trials).references
    assert "no trial" in absent.why


@pytest.mark.parametrize("known", [None, msgspec.UNSET], ids=["gone", "changed"])
def test_without_its_experiment_as_it_was_a_killed_run_keeps_its_figures_and_judges_no_claim(known: Any) -> None:
    plan = plan_of()
    expected = interrupted(plan, after=31)
    changed = experiment(
        id="fake", question="Does it now?", factors=[Factor("speed", ["base"], "base")], metrics=[Metric("each", "s")]
    )(fake.trial)
    object.__setattr__(changed, "code", "another text")
    found = killed(plan, expected.trials, known=None if known is None else changed)
    assert found.claims == []
    assert (found.question, found.metrics, found.factors) == ("Does it?", expected.metrics, expected.factors)
    assert (found.estimates, found.effects, found.guardrails) == (expected.estimates, expected.effects, expected.guardrails)
    assert found.arms == expected.arms


def test_a_run_that_was_killed_before_its_first_trial_is_an_empty_and_valid_document() -> None:
    found = killed(plan_of(), [])
    assert (found.trials, found.estimates, found.rule.blocks) == ([], [], 0)
    assert decode(canonical(found)) == found


def test_percentiles_without_samples_say_so_and_their_trials_keep_their_own() -> None:
    percentiles = experiment(
        id="fake", question="Does it?", factors=[Factor("speed", ["base", "slow"], "base")], metrics=[Metric("p50", "s")]
    )(fake.trial)
    header = Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0")
    plan = Plan(percentiles, header, Mode.NORMAL, 7, 0.2, 60.0, percentiles.arms())
    trials = [
        TrialRecord(block=block, arm=arm, placebo=twin, status="ok", metrics={"p50": 0.01 * (1 + arm)})
        for block in range(8)
        for arm, twin in ((0, False), (1, False), (0, True))
    ]
    found = killed(plan, trials, known=percentiles)
    estimate, effect = found.estimate(1, "p50"), found.effect(1, "p50")
    assert estimate is not None and estimate.withheld == "0 samples; p50 is shown from 8"
    assert effect is not None and effect.ratio == pytest.approx(2.0)


def test_a_killed_run_shows_the_percentiles_of_the_latencies_that_were_stored() -> None:
    @experiment(
        id="timed",
        question="How long?",
        factors=[Factor("speed", ["base", "slow"], "base")],
        metrics=[Metric("p50", "s", primary=True), Metric("p99", "s")],
    )
    def timed(arm: Any) -> Generator[Any, Any, None]:
        yield lambda _: None

    header = Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0")
    plan = Plan(timed, header, Mode.NORMAL, 7, 0.2, 60.0, timed.arms())
    kept: list[tuple[TrialRecord, Histogram | None]] = []
    random = Random(5)

    def start(task: Task) -> tuple[TrialRecord, Histogram]:
        if len(kept) == 26:
            raise KeyboardInterrupt
        scale = 3e6 if task.slot.arm == 1 else 1e6
        latencies = Histogram.from_samples(np.array([int(scale * random.lognormvariate(0, 0.3)) for _ in range(60)]))
        p50 = latencies.percentile_ns(0.5) / 1e9
        record = TrialRecord(
            block=task.block, arm=task.slot.arm, status="ok", placebo=task.slot.placebo, cold=task.cold, metrics={"p50": p50}
        )
        # As the store gives it back: through its sparse form.
        kept.append((record, Histogram.from_sparse(msgspec.json.decode(msgspec.json.encode(latencies.to_sparse())))))
        return record, latencies

    last = list(perform(plan, start, lambda: 0.0, finished=lambda: FINISHED))[-1]
    assert isinstance(last, Judged)
    body = msgspec.json.decode(msgspec.json.encode(begun(plan, name="timed")))
    found = close_killed(body, kept, timed, finished=FINISHED)
    assert same_but_for_the_rule(found, last.document)
    shown = found.estimate(1, "p99")
    assert shown is not None and shown.withheld is None and shown.low is not None
    assert set(found.histograms) == {"0", "1"}
    without = close_killed(body, [(trial, None) for trial, _ in kept], timed, finished=FINISHED).estimate(1, "p99")
    assert without is not None and without.withheld == "0 samples; p99 is shown from 400"
