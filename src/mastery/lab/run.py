"""The loop of a run: blocks laid from the seed, a pilot, the number of blocks fixed from it, then the judging.

    perform(plan, start_trial, clock) -> Planned, TrialStarted, TrialFinished ..., BlocksFixed, ..., Advised, Judged

Nothing here starts a process, reads a clock that was not passed in, or writes: whoever consumes the events does.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import msgspec

from mastery.lab.design import Slot, lay_blocks
from mastery.lab.document import RuleRecord, RunDocument, TrialRecord
from mastery.lab.event import Advised, AnyEvent, BlocksFixed, Judged, Planned, TrialFinished, TrialStarted
from mastery.lab.evidence import VOIDS_IN_A_ROW, Evidence
from mastery.lab.findings import Closing, document_of
from mastery.lab.histogram import Histogram
from mastery.lab.interruption import RunEnded
from mastery.lab.load import Load
from mastery.lab.plan import Plan, Task, arm_records
from mastery.lab.planning import PILOT_BLOCKS, Mode, PlanReason, plan_blocks
from mastery.lab.ramp import load_at, ramp

# Below six blocks no 95 % interval exists: a run that has begun is finished up to there, even past its budget.
FEWEST_JUDGED = 6
# A quick run is an indication and stays one; precision is what the other modes are for.
MOST_QUICK_BLOCKS = 12


StartTrial = Callable[[Task], tuple[TrialRecord, Histogram | None]]
Clock = Callable[[], float]


@dataclass(slots=True)
class _Progress:
    """The state of one run in the making."""

    evidence: Evidence
    began: float
    done: int = 0
    expected: int = 0
    capacity: dict[int, float] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def happened(self, now: float, event: str, **facts: object) -> None:
        """Notes what happened to the run as a whole, for its document."""
        self.events.append({"at_s": round(now - self.began, 3), "event": event, **facts})

    def load_of(self, arm: int) -> Load | None:
        """The load of an arm, as a rate where it was declared as a share of capacity."""
        plan = self.evidence.plan
        declared = next(each for each in plan.arms if each.index == arm)
        return load_at(plan.experiment.load_of(declared), arm, self.capacity)


def perform(plan: Plan, start_trial: StartTrial, clock: Clock, *, finished: Callable[[], str]) -> Iterator[AnyEvent]:
    """Carries the plan out. An interrupt (KeyboardInterrupt) ends it early and judges what is finished.

    `clock` gives seconds; `finished` the UTC time that the document closes with. The last event is always `Judged`.
    """
    progress = _Progress(Evidence(plan), clock(), expected=len(plan.slots) * plan.fewest_blocks)
    yield Planned(
        run=plan.header.run,
        arms=arm_records(plan),
        trials=progress.expected,
        seconds=plan.budget_s,
    )
    for advice in plan.header.advice:
        yield Advised(advice=advice)
    stopped: Literal["planned", "budget", "interrupted"] = "planned"
    rule = _rule_before_the_pilot(plan, FEWEST_JUDGED)
    try:
        yield from _ramp(plan, start_trial, progress)
        if plan.has_placebo and plan.baseline not in progress.evidence.given_up:
            # The first trial meets cold caches and a cold interpreter; it is shown apart and judged nowhere.
            yield from _run_slot(plan, Slot(plan.baseline), 0, start_trial, progress, cold=True)
        blocks = enumerate(lay_blocks(plan.slots, seed=plan.seed))
        pilot = 1 if plan.experiment.exact else min(PILOT_BLOCKS, plan.fewest_blocks)
        yield from _run_blocks(plan, blocks, pilot, start_trial, progress)
        rule = _fix_blocks(plan, progress, clock)
        progress.happened(clock(), "blocks-fixed", blocks=rule.blocks, reason=rule.reason)
        progress.expected = progress.done + len(plan.slots) * max(0, rule.blocks - progress.evidence.complete_blocks)
        yield BlocksFixed(rule=rule, trials=progress.expected)
        stopped = "budget" if rule.reason == "budget" else "planned"
        yield from _run_blocks(plan, blocks, rule.blocks, start_trial, progress)
    except KeyboardInterrupt as ending:
        stopped = "interrupted"
        progress.happened(clock(), "interrupted", trials=progress.done)
        if isinstance(ending, RunEnded):
            progress.evidence.advice.append(ending.advice)
        # All that the last block lacks may be a reference's trial.
        progress.evidence.close_last_block()
    # Void trials or an interrupt may have left fewer complete blocks than were planned.
    rule = msgspec.structs.replace(rule, blocks=min(rule.blocks, progress.evidence.complete_blocks))
    closing = Closing(rule, stopped, finished(), tuple(progress.events))
    document = document_of(progress.evidence, closing)
    for advice in document.advice[len(plan.header.advice) :]:
        yield Advised(advice=advice)
    yield Judged(document=document)


def _run_blocks(
    plan: Plan,
    blocks: Iterator[tuple[int, tuple[Slot, ...]]],
    until: int,
    start_trial: StartTrial,
    progress: _Progress,
) -> Iterator[AnyEvent]:
    """Runs blocks until `until` of them are complete; a void trial costs its whole block, which is then run again."""
    spare = max(VOIDS_IN_A_ROW, until // 2)
    while progress.evidence.complete_blocks < until:
        number, order = next(blocks)
        for slot in order:
            if slot.arm not in progress.evidence.given_up:
                yield from _run_slot(plan, slot, number, start_trial, progress)
        if not progress.evidence.close_block(number):
            spare -= 1
            progress.expected += len(plan.slots)
        if spare < 0 or plan.baseline in progress.evidence.given_up:
            return


def _run_slot(
    plan: Plan, slot: Slot, block: int, start_trial: StartTrial, progress: _Progress, *, cold: bool = False
) -> Iterator[AnyEvent]:
    yield TrialStarted(block=block, arm=slot.arm, placebo=slot.placebo)
    load = progress.load_of(slot.arm)
    assert load is not None, "an arm without capacity was given up before its first trial"
    # All arms of a block share its seed: they meet the same arrivals.
    task = Task(slot, block, seed=(plan.seed * 1_000_003 + block) % 2**53, seconds=plan.trial_s, load=load, cold=cold)
    record, histogram = start_trial(task)
    progress.evidence.add(record, histogram)
    progress.done += 1
    yield TrialFinished(trial=record, done=progress.done, trials=max(progress.done, progress.expected))


def _ramp(plan: Plan, start_trial: StartTrial, progress: _Progress) -> Iterator[AnyEvent]:
    """Finds the capacity of the arms that need it; an arm that never keeps up with any rate is given up."""
    steps = ramp(plan.experiment, plan.arms)
    record: TrialRecord | None = None
    try:
        while True:
            arm, load = next(steps) if record is None else steps.send(record)
            slot = Slot(arm.index)
            yield TrialStarted(block=0, arm=arm.index)
            record, _ = start_trial(Task(slot, 0, seed=plan.seed % 2**53, seconds=plan.trial_s, load=load, ramp=True))
            progress.evidence.add(record, None)
            progress.done += 1
            progress.expected += 1
            yield TrialFinished(trial=record, done=progress.done, trials=progress.expected)
    except StopIteration as found:
        progress.capacity = found.value
    progress.evidence.given_up.update(arm.index for arm in plan.arms if progress.load_of(arm.index) is None)


def _fix_blocks(plan: Plan, progress: _Progress, clock: Clock) -> RuleRecord:
    """The number of blocks, from the pilot's spread and the time that is left; verdicts are not looked at."""
    spent_s = clock() - progress.began
    evidence = progress.evidence
    complete = evidence.complete_blocks
    block_s = spent_s / max(1, progress.done) * len(plan.slots)
    affordable = complete + max(0, math.floor((plan.budget_s - spent_s) / max(block_s, 1e-9)))
    if plan.mode is Mode.QUICK and math.isfinite(plan.load_s):
        # What a user waits for is one thing, what their disk or server is put through another: both are promised.
        load_left_s = plan.load_s - progress.done * plan.trial_s
        affordable = min(affordable, complete + max(0, math.floor(load_left_s / (plan.trial_s * len(plan.slots)) + 1e-9)))
    rule = RuleRecord(
        blocks=1,
        reason="exact",
        pilot=complete,
        seconds_per_trial=plan.trial_s,
        budget_s=plan.budget_s,
        capacity={str(arm): found for arm, found in progress.capacity.items()},
    )
    if plan.experiment.exact:
        return rule
    fewest = plan.fewest_blocks
    if not plan.has_placebo:
        # What is counted by its worst case has no spread to plan from: as many as the budget holds, within reason.
        return msgspec.structs.replace(rule, blocks=max(FEWEST_JUDGED, min(fewest, affordable)), reason="minimum")
    logs = evidence.log_values(plan.experiment.primary.name)
    twin = logs.shape[1] - 1
    smallest = plan.experiment.smallest_effect
    planned = plan_blocks(logs, baseline=0, smallest_effect=smallest, mode=plan.mode, affordable=affordable, twin=twin)
    blocks, reason = planned.blocks, planned.reason
    if plan.mode is Mode.QUICK and blocks > MOST_QUICK_BLOCKS:
        blocks, reason = MOST_QUICK_BLOCKS, PlanReason.BUDGET
    return msgspec.structs.replace(
        rule, blocks=max(FEWEST_JUDGED, min(fewest, affordable), blocks), reason=reason.value, wanted=min(planned.wanted, 10**6)
    )


def _rule_before_the_pilot(plan: Plan, blocks: int) -> RuleRecord:
    reason: Literal["exact", "minimum"] = "exact" if plan.experiment.exact else "minimum"
    return RuleRecord(blocks=blocks, reason=reason, budget_s=plan.budget_s, seconds_per_trial=plan.trial_s)


def document_so_far(plan: Plan, kept: Sequence[tuple[TrialRecord, Histogram | None]], *, finished: str) -> RunDocument:
    """The document of a run whose process was killed: judged from the trials that the store had kept, with their latencies."""
    evidence = Evidence(plan)
    trials = [trial for trial, _ in kept]
    ramped = {trial.arm for trial in trials if trial.ramp}
    evidence.given_up |= ramped - {trial.arm for trial in trials if trial.ramp and trial.load.get("stable") == "yes"}
    for number, block in groupby(kept, key=lambda each: each[0].block):
        for trial, histogram in block:
            evidence.add(trial, histogram)
        # An arm that was given up later still belonged to this block: it is closed before the next one is read.
        evidence.close_block(number)
    rule = _rule_before_the_pilot(plan, evidence.complete_blocks)
    last = trials[-1] if trials else None
    killed = {"at_s": round(last.started_s + last.seconds, 3) if last else 0.0, "event": "killed", "trials": len(trials)}
    return document_of(evidence, Closing(rule, "interrupted", finished, (killed,)))
