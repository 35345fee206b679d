"""The loop of a run on a fake machine: what runs in which order, how many blocks, what is judged, what an interrupt leaves."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from mastery.errors import BrokenExperiment
from mastery.lab.claim import Claim, ratio, value, worst
from mastery.lab.document import AdviceRecord, RunDocument, TrialRecord, canonical, content_hash, decode
from mastery.lab.event import AnyEvent, BlocksFixed, Judged, Planned, TrialFinished, as_line, from_line
from mastery.lab.experiment import Experiment, Factor, Metric, experiment
from mastery.lab.load import Closed, Open
from mastery.lab.plan import Header, Plan, Task
from mastery.lab.planning import Mode
from mastery.lab.run import document_so_far, perform

SPEEDS = {"slow": 3.0, "same": 1.0, "base": 1.0}


@experiment(
    id="fake",
    question="Does the loop do what it says?",
    factors=[Factor("speed", ["base", "slow", "same"], baseline="base")],
    metrics=[
        Metric("seconds_each", "s", better="lower", primary=True),
        Metric("throughput", "op/s", better="higher"),
        Metric("lost", "record", better="lower", role="guardrail"),
    ],
    claims=[
        Claim("slow-is-slow", ratio("seconds_each", "slow", over="base") >= 2),
        Claim("slow-is-very-slow", ratio("seconds_each", "slow", over="base") >= 5),
        Claim("nothing-lost", worst("lost") <= 0),
        Claim("something-lost", worst("lost", at={"speed": "slow"}) <= 0),
        Claim("quick", value("seconds_each") <= 0.001),
    ],
)
def fake(arm: Any) -> Iterator[Any]:
    yield lambda _: None


class FakeMachine:
    """Answers a task with figures of known ratio; its clock advances by what each trial takes."""

    def __init__(self, *, noise: float = 0.02, void: Callable[[Task], str | None] = lambda _: None) -> None:
        self.now = 0.0
        self.noise = Random(5)
        self.sigma = noise
        self.void = void
        self.tasks: list[Task] = []
        self.stop_after: int | None = None

    def clock(self) -> float:
        return self.now

    def start(self, task: Task) -> tuple[TrialRecord, None]:
        if self.stop_after is not None and len(self.tasks) >= self.stop_after:
            raise KeyboardInterrupt
        self.tasks.append(task)
        self.now += task.seconds
        speed = ["base", "slow", "same"][task.slot.arm]
        figure = 0.01 * SPEEDS[speed] * math.exp(self.noise.gauss(0, self.sigma))
        cause = self.void(task)
        record = TrialRecord(
            block=task.block,
            arm=task.slot.arm,
            status="void" if cause else "ok",
            cause=cause,
            placebo=task.slot.placebo,
            cold=task.cold,
            metrics={} if cause else {"seconds_each": figure, "throughput": 1 / figure, "lost": float(speed == "slow")},
        )
        return record, None


def plan_of(declared: Experiment = fake, *, mode: Mode = Mode.NORMAL, budget_s: float = 60.0, seed: int = 7) -> Plan:
    header = Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0", advice=(AdviceRecord(code="x", text="y"),))
    return Plan(declared, header, mode, seed, trial_s=0.2, budget_s=budget_s, arms=declared.arms())


def events_of(plan: Plan, machine: FakeMachine) -> list[AnyEvent]:
    return list(perform(plan, machine.start, machine.clock, finished=lambda: "2026-01-01T00:01:00Z"))


def document_in(events: list[AnyEvent]) -> RunDocument:
    last = events[-1]
    assert isinstance(last, Judged)
    return last.document


def test_every_complete_block_holds_every_arm_and_the_baseline_twice() -> None:
    machine = FakeMachine()
    document = document_in(events_of(plan_of(), machine))
    blocks: dict[int, Counter[tuple[int, bool]]] = {}
    for trial in document.trials:
        if not trial.cold:
            blocks.setdefault(trial.block, Counter())[trial.arm, trial.placebo] += 1
    assert len(blocks) == document.rule.blocks >= 10
    assert all(each == Counter({(0, False): 1, (0, True): 1, (1, False): 1, (2, False): 1}) for each in blocks.values())


def test_the_first_trial_is_cold_and_judged_nowhere() -> None:
    document = document_in(events_of(plan_of(), FakeMachine()))
    assert [trial.cold for trial in document.trials].count(True) == 1
    assert document.trials[0].cold
    estimate = document.estimate(0, "seconds_each")
    assert estimate is not None
    assert estimate.trials == document.rule.blocks


def test_the_same_seed_lays_the_same_blocks_and_another_seed_others() -> None:
    orders = []
    for seed in (7, 7, 8):
        machine = FakeMachine()
        events_of(plan_of(seed=seed), machine)
        orders.append([(task.slot, task.seed) for task in machine.tasks])
    assert orders[0] == orders[1] != orders[2]


def test_all_arms_of_a_block_share_its_seed() -> None:
    machine = FakeMachine()
    events_of(plan_of(), machine)
    seeds: dict[int, set[int]] = {}
    for task in machine.tasks:
        seeds.setdefault(task.block, set()).add(task.seed)
    assert all(len(each) == 1 for each in seeds.values())
    assert len({min(each) for each in seeds.values()}) == len(seeds)


def test_the_number_of_blocks_is_fixed_once_and_before_the_judging() -> None:
    events = events_of(plan_of(), FakeMachine())
    fixed = [index for index, event in enumerate(events) if isinstance(event, BlocksFixed)]
    assert len(fixed) == 1
    finished_before = sum(isinstance(event, TrialFinished) and not event.trial.cold for event in events[: fixed[0]])
    assert finished_before == 4 * 4
    assert isinstance(events[0], Planned)


def test_a_noisy_machine_takes_more_blocks_and_the_budget_caps_them() -> None:
    quiet = document_in(events_of(plan_of(budget_s=400), FakeMachine(noise=0.001)))
    noisy = document_in(events_of(plan_of(budget_s=400), FakeMachine(noise=0.4)))
    capped = document_in(events_of(plan_of(budget_s=12), FakeMachine(noise=0.4)))
    assert quiet.rule.reason == "minimum"
    assert noisy.rule.reason in ("precision", "budget")
    assert noisy.rule.blocks > quiet.rule.blocks
    assert capped.rule.reason == "budget"
    assert capped.stopped == "budget"
    assert 6 <= capped.rule.blocks < noisy.rule.blocks


def test_effects_verdicts_and_claims_follow_from_the_figures() -> None:
    document = document_in(events_of(plan_of(), FakeMachine(noise=0.02)))
    slow, same = document.effect(1, "seconds_each"), document.effect(2, "seconds_each")
    assert slow is not None and same is not None
    assert slow.verdict == "worse" and slow.relevant
    assert slow.low is not None and slow.high is not None and slow.low < 3.0 < slow.high
    assert same.verdict == "equivalent"
    assert {claim.id: claim.standing for claim in document.claims} == {
        "slow-is-slow": "holds",
        "slow-is-very-slow": "fails",
        "nothing-lost": "holds",
        "something-lost": "fails",
        "quick": "fails",
    }


def test_a_guardrail_is_counted_and_bounded_and_never_a_median() -> None:
    document = document_in(events_of(plan_of(), FakeMachine()))
    lossy, safe = document.guardrail(1, "lost"), document.guardrail(0, "lost")
    assert lossy is not None and safe is not None
    assert (lossy.trials_with_any, lossy.maximum) == (lossy.trials, 1.0)
    assert safe.maximum == 0.0
    assert safe.share_at_most == pytest.approx(1 - 0.05 ** (1 / safe.trials))
    assert document.estimate(1, "lost") is None


def test_the_arm_that_loses_and_is_slow_is_off_the_frontier() -> None:
    frontier = document_in(events_of(plan_of(), FakeMachine())).frontier
    assert frontier is not None
    assert 1 not in frontier.arms
    assert frontier.share["1"] == 0.0


def test_a_void_trial_is_kept_with_its_cause_and_its_whole_block_is_run_again() -> None:
    machine = FakeMachine(void=lambda task: "killed by SIGSEGV" if (task.block, task.slot.arm) == (2, 1) else None)
    document = document_in(events_of(plan_of(), machine))
    void = [trial for trial in document.trials if trial.status == "void"]
    assert [(trial.block, trial.arm, trial.cause) for trial in void] == [(2, 1, "killed by SIGSEGV")]
    estimate = document.estimate(1, "seconds_each")
    assert estimate is not None
    assert estimate.trials == document.rule.blocks
    assert max(trial.block for trial in document.trials) == document.rule.blocks


@pytest.mark.parametrize(("blocks", "withheld"), [((2,), False), ((2, 3), True)])
def test_one_void_trial_of_a_quick_run_withholds_nothing_and_a_second_of_the_same_arm_does(
    blocks: tuple[int, ...], withheld: bool
) -> None:
    machine = FakeMachine(void=lambda task: "time-out" if task.slot.arm == 1 and task.block in blocks else None)
    document = document_in(events_of(plan_of(mode=Mode.QUICK, budget_s=10), machine))
    void = sum(trial.status == "void" for trial in document.trials)
    assert void == len(blocks)
    # Either way the shares lie more than ten points apart.
    slow = document.effect(1, "seconds_each")
    assert slow is not None and (slow.withheld is not None, slow.verdict) == (withheld, None if withheld else "worse")


def test_an_arm_that_is_always_void_is_given_up_and_the_others_are_judged_without_verdict() -> None:
    machine = FakeMachine(void=lambda task: "raised ValueError: no" if task.slot.arm == 1 else None)
    document = document_in(events_of(plan_of(), machine))
    assert document.estimate(1, "seconds_each") is None
    same = document.effect(2, "seconds_each")
    assert same is not None
    assert same.withheld is not None and "void" in same.withheld
    assert any(advice.code == "void" and "ValueError" in advice.text for advice in document.advice)
    assert next(claim for claim in document.claims if claim.id == "slow-is-slow").standing == "not_run"


def test_a_run_whose_baseline_is_always_void_ends() -> None:
    machine = FakeMachine(void=lambda task: "time-out" if task.slot.arm == 0 else None)
    document = document_in(events_of(plan_of(), machine))
    assert document.rule.blocks == 0
    assert document.estimates == []
    assert sum(trial.arm == 0 for trial in document.trials) == 3


def test_an_interrupt_judges_what_is_finished() -> None:
    machine = FakeMachine()
    machine.stop_after = 30
    document = document_in(events_of(plan_of(), machine))
    assert document.stopped == "interrupted"
    assert len(document.trials) == 30
    assert document.rule.blocks == 7
    slow = document.effect(1, "seconds_each")
    assert slow is not None and slow.ratio == pytest.approx(3.0, rel=0.1)


def test_an_interrupt_before_the_first_trial_leaves_an_empty_and_valid_document() -> None:
    machine = FakeMachine()
    machine.stop_after = 0
    document = document_in(events_of(plan_of(), machine))
    assert document.trials == []
    assert decode(canonical(document)) == document


def test_what_a_killed_run_had_stored_is_judged_the_same_way() -> None:
    document = document_in(events_of(plan_of(), FakeMachine()))
    again = document_so_far(plan_of(), [(trial, None) for trial in document.trials[:25]], finished="2026-01-01T00:02:00Z")
    assert again.stopped == "interrupted"
    assert again.rule.blocks == 6
    assert again.effect(1, "seconds_each") is not None


def test_a_quick_run_gives_indications_that_are_not_adjusted() -> None:
    document = document_in(events_of(plan_of(mode=Mode.QUICK, budget_s=10), FakeMachine()))
    slow = document.effect(1, "seconds_each")
    assert slow is not None
    assert slow.indication and not slow.adjusted
    assert document.rule.blocks >= 6
    assert any(advice.code == "indication" for advice in document.advice)


@pytest.mark.parametrize("noise", [0.001, 0.4])
def test_a_quick_run_keeps_to_its_seconds_of_load_however_much_time_is_left(noise: float) -> None:
    machine = FakeMachine(noise=noise)
    plan = dataclasses.replace(plan_of(mode=Mode.QUICK, budget_s=1000), load_s=20 * 0.2 + 7 * 4 * 0.2)
    document = document_in(events_of(plan, machine))
    assert sum(task.seconds for task in machine.tasks) <= plan.load_s
    assert document.rule.blocks == (6 if noise == 0.001 else 11)


def test_what_happened_to_a_run_stands_in_its_document() -> None:
    document = document_in(events_of(plan_of(), FakeMachine()))
    (fixed,) = document.events
    assert (fixed["event"], fixed["blocks"], fixed["reason"]) == ("blocks-fixed", document.rule.blocks, document.rule.reason)
    assert fixed["at_s"] == pytest.approx(17 * 0.2)
    machine = FakeMachine()
    machine.stop_after = 30
    events = document_in(events_of(plan_of(), machine)).events
    assert [each["event"] for each in events] == ["blocks-fixed", "interrupted"]
    assert events[-1]["trials"] == 30


def test_the_document_survives_its_own_json_and_shows_a_changed_figure() -> None:
    document = document_in(events_of(plan_of(), FakeMachine()))
    assert decode(canonical(document)) == document
    assert content_hash(document) == document.hash
    forged = msgspec.structs.replace(document, seed=document.seed + 1)
    with pytest.raises(Exception, match="does not match its hash"):
        decode(canonical(forged))


def test_every_event_survives_its_line_of_json() -> None:
    for event in events_of(plan_of(), FakeMachine()):
        assert from_line(as_line(event)) == event


@experiment(
    id="open-fake",
    question="Is capacity found before latency is measured?",
    factors=[Factor("speed", ["base", "slow"], baseline="base")],
    metrics=[Metric("p50", "s", better="lower", primary=True)],
    load=Open(of_capacity=0.6, threads=4),
)
def open_fake(arm: Any) -> Iterator[Any]:
    yield lambda _: None


class RampedMachine:
    """Completes at most so much by arm; an offer above that is unstable."""

    def __init__(self, *most: float) -> None:
        self.most = most
        self.tasks: list[Task] = []
        self.now = 0.0

    def start(self, task: Task) -> tuple[TrialRecord, None]:
        self.tasks.append(task)
        self.now += 0.1
        most = self.most[task.slot.arm]
        if isinstance(task.load, Closed):
            load: dict[str, float | str] = {"completed_per_s": most * 1.2}
        else:
            load = {"completed_per_s": min(task.load.rate, most), "stable": "yes" if task.load.rate <= most else "no"}
        metrics = {} if task.ramp else {"p50": 0.001 * (1 + task.slot.arm) * math.exp(Random(len(self.tasks)).gauss(0, 0.01))}
        return TrialRecord(
            block=task.block,
            arm=task.slot.arm,
            status="ok" if most else "void",
            cause=None if most else "time-out",
            placebo=task.slot.placebo,
            cold=task.cold,
            ramp=task.ramp,
            load=load,
            metrics=metrics,
        ), None


def test_capacity_is_found_first_and_all_arms_are_offered_the_same_share_of_the_least() -> None:
    machine = RampedMachine(1000.0, 400.0)
    document = document_in(list(perform(plan_of(open_fake), machine.start, lambda: machine.now, finished=lambda: "x")))
    ramped = [task for task in machine.tasks if task.ramp]
    assert machine.tasks[: len(ramped)] == ramped
    capacity = document.rule.capacity
    assert 0.5 * 1000 <= capacity["0"] <= 1000 and 0.5 * 400 <= capacity["1"] <= 400
    rates = {task.load.rate for task in machine.tasks if not task.ramp and isinstance(task.load, Open)}
    assert rates == {0.6 * capacity["1"]}
    assert document.rule.blocks >= 10


def test_the_ramp_is_recorded_and_judged_nowhere() -> None:
    machine = RampedMachine(1000.0, 400.0)
    document = document_in(list(perform(plan_of(open_fake), machine.start, lambda: machine.now, finished=lambda: "x")))
    ramped = [trial for trial in document.trials if trial.ramp]
    assert len(ramped) == sum(task.ramp for task in machine.tasks) >= 6
    effect = document.effect(1, "p50")
    assert effect is not None and effect.ratio == pytest.approx(2.0, rel=0.05)
    assert effect.blocks == document.rule.blocks


def test_an_arm_that_keeps_up_with_nothing_is_given_up() -> None:
    machine = RampedMachine(1000.0, 0.0)
    document = document_in(list(perform(plan_of(open_fake), machine.start, lambda: machine.now, finished=lambda: "x")))
    assert not any(task.slot.arm == 1 and not task.ramp for task in machine.tasks)
    assert document.rule.blocks >= 10


def test_an_open_load_above_four_fifths_of_capacity_must_be_about_collapse() -> None:
    with pytest.raises(BrokenExperiment, match="queue"):
        Open(of_capacity=0.95)
    assert Open(of_capacity=1.2, collapse=True).loaders == 1
    with pytest.raises(BrokenExperiment, match="rate above 0"):
        Open()
    with pytest.raises(BrokenExperiment, match="at least one loader"):
        Closed(threads=0)
