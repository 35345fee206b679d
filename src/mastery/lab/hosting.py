"""Starts what an experiment needs, gives each trial its own fresh data, and puts trials into workers."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from mastery.components.component import Component, Here, Missing, Scope, Service, Site
from mastery.components.targets import Metered, Searched, Visit
from mastery.errors import MasteryError
from mastery.lab.conduct import Assignment, Conducted, conduct
from mastery.lab.document import AdviceRecord, ComponentRecord, TrialRecord
from mastery.lab.experiment import Arm, Experiment, Role
from mastery.lab.fault import Strike, strike, strikes
from mastery.lab.histogram import Histogram
from mastery.lab.interruption import RunEnded
from mastery.lab.plan import Plan, Task
from mastery.lab.printable import printable, printable_throughout
from mastery.lab.worker import Void, in_worker


def find_components(experiment: Experiment, site: Site) -> dict[str, Here | Missing]:
    """What each resource of the experiment answers on this machine."""
    return {name: component.find(site) for name, component in experiment.resources.items()}


@dataclass(slots=True)
class Host:
    """The services of one run. Those of scope run live as long as the host, those of scope arm as long as one trial."""

    experiment: Experiment
    site: Site
    found: Mapping[str, Here | Missing]
    _services: dict[str, Service] = field(default_factory=dict)
    _trials: int = 0

    def __enter__(self) -> "Host":
        try:
            for name, component in self.experiment.resources.items():
                if isinstance(self.found[name], Here) and component.scope is Scope.RUN:
                    self._services[name] = component.start(self.site, {})
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends every service, the last one started first."""
        while self._services:
            _, service = self._services.popitem()
            service.stop()

    def records(self) -> tuple[ComponentRecord, ...]:
        """The components as they stand in the document."""
        records = []
        for name, component in self.experiment.resources.items():
            found = self.found[name]
            how, version = (found.how, found.version) if isinstance(found, Here) else (f"missing: {found.reason}", "")
            service = self._services.get(name)
            configuration = printable_throughout(dict(service.configuration())) if service is not None else {}
            records.append(
                ComponentRecord(name=component.name, how=printable(how), version=printable(version), configuration=configuration)
            )
        return tuple(records)

    def advice(self) -> tuple[AdviceRecord, ...]:
        """What a user should know of a server of theirs: how everything of ours on it is dropped, should we be killed."""
        found: list[AdviceRecord] = []
        for name, service in self._services.items():
            if isinstance(service, Visit):
                text = f"On your {name} this run keeps to a scratch place of its own and drops it at the end."
                found.append(AdviceRecord(code="target", text=text, remedy=f"Should it be killed: {service.how_to_drop}"))
            for left in service.leftovers() if isinstance(service, Searched) else ():
                text = f"A killed run has left {left.name} on your {name}."
                found.append(AdviceRecord(code="leftover", text=text, remedy=left.drop))
        return tuple(found)

    def run_trial(self, plan: Plan, task: Task, *, clock: Callable[[], float]) -> tuple[TrialRecord, Histogram | None]:
        """One trial with fresh data, in a worker of its own; its failure is its record, never an exception (but for `RunEnded`)."""
        self._end_where_exceeded()
        arm = next(each for each in plan.arms if each.index == task.slot.arm)
        self._trials += 1
        started = clock()
        before: dict[str, float] = {}
        after: dict[str, float] = {}
        answer: Any = None
        # A server that was killed can neither give out data nor take them back, and says so in its driver's words.
        try:
            with ExitStack() as stack:
                addresses, before = self._prepare(arm, stack)
                work = partial(_work, plan, task, arm, addresses)
                answer = in_worker(work, timeout_s=self._patience_s(task), meanwhile=self._meanwhile(arm, task))
                after = self._counters()
        except Exception as failure:
            self._restart()
            if answer is None:
                answer = Void(f"the trial could not be set up: {_words(failure)}")
        record = self._record(task, started, clock(), answer)
        moved = {name: after[name] - before[name] for name in after if name in before and after[name] != before[name]}
        struck = [[round(each.at_s, 6), each.resource, each.action] for each in self._strikes(arm, task)]
        notes = {**record.notes, "faults": struck} if struck else record.notes
        record = msgspec.structs.replace(record, counters=moved, notes=notes)
        return record, answer.histogram if isinstance(answer, Conducted) else None

    def _end_where_exceeded(self) -> None:
        """Raises `RunEnded` before a trial when a server of the user's has been asked for more than was promised."""
        for service in self._services.values():
            if not isinstance(service, Metered):
                continue
            why = None
            # A server that does not answer is found out by the trial, whose record says so.
            with contextlib.suppress(Exception):
                why = service.exceeded()
            if why is not None:
                remedy = "Take fewer arms or a smaller --budget, or lift the limits on a server of your own."
                raise RunEnded(AdviceRecord(code="target-limit", text=why, remedy=remedy))

    def _meanwhile(self, arm: Arm, task: Task) -> list[tuple[float, Callable[[], None]]]:
        """The faults of an arm, as things to be done to the services; a reference tool is spared them."""
        return [(each.at_s, partial(strike, self._services.get(each.resource), each)) for each in self._strikes(arm, task)]

    def _strikes(self, arm: Arm, task: Task) -> tuple[Strike, ...]:
        if self.experiment.faults is None or task.slot.reference is not None:
            return ()
        return strikes(tuple(self.experiment.faults(arm)), seed=task.seed)

    def _patience_s(self, task: Task) -> float:
        return max(self.experiment.timeout_s, 5.0 * task.seconds + 10.0 * self.experiment.overhead_s)

    def _prepare(self, arm: Arm, stack: ExitStack) -> tuple[dict[str, Any], dict[str, float]]:
        """The addresses of one trial, and the counters as they stand before it. A resource the arm does without is None."""
        needed = self.experiment.resources_of(arm)
        addresses: dict[str, Any] = {}
        for name, component in self.experiment.resources.items():
            addresses[name] = None
            if name in needed:
                service = self._services.get(name) or stack.enter_context(self._started(name, component, arm))
                addresses[name] = stack.enter_context(service.fresh(f"t{self._trials}"))
        return addresses, self._counters()

    @contextlib.contextmanager
    def _started(self, name: str, component: Component, arm: Arm) -> Iterator[Service]:
        settings = self.experiment.settings(arm).get(name, {}) if self.experiment.settings else {}
        service = component.start(self.site, settings)
        try:
            yield service
        finally:
            service.stop()

    def _counters(self) -> dict[str, float]:
        counters: dict[str, float] = {}
        for name, service in self._services.items():
            # A server that was killed meanwhile has no counters; the next set-up finds out and starts it again.
            with contextlib.suppress(Exception):
                counters.update({f"{name}.{counter}": value for counter, value in service.counters().items()})
        return counters

    def _restart(self) -> None:
        """Starts the services anew after one of them failed: somebody may have killed it."""
        while self._services:
            with contextlib.suppress(Exception):
                self.stop()
        with contextlib.suppress(Exception):
            self.__enter__()

    @staticmethod
    def _record(task: Task, started: float, ended: float, answer: Any) -> TrialRecord:
        slot = task.slot
        common: dict[str, Any] = {
            "block": task.block,
            "arm": slot.arm,
            "placebo": slot.placebo,
            "cold": task.cold,
            "ramp": task.ramp,
            "reference": slot.reference,
            "started_s": round(started, 6),
            "seconds": round(ended - started, 6),
        }
        if isinstance(answer, Void):
            # A program's last words may hold anything; a document holds only what may be printed.
            return TrialRecord(status="void", cause=printable(answer.cause), **common)
        assert isinstance(answer, Conducted)
        seen = msgspec.to_builtins(answer.disturbance) if answer.disturbance else {}
        return TrialRecord(
            status="ok",
            metrics=answer.metrics,
            load=answer.load,
            notes=printable_throughout(answer.notes),
            steal=seen.pop("steal_share", None) or 0.0,
            switches={
                "voluntary": seen.pop("voluntary_switches", 0),
                "involuntary": seen.pop("involuntary_switches", 0),
            },
            disturbance={name: float(figure) for name, figure in seen.items() if figure is not None},
            **common,
        )


def _words(failure: Exception) -> str:
    return failure.message if isinstance(failure, MasteryError) else f"{type(failure).__name__}: {failure}"


def _work(plan: Plan, task: Task, arm: Arm, addresses: dict[str, Any]) -> Conducted:
    """What runs inside the worker: our own trial, or the reference tool on the same arm and data."""
    metrics = tuple(metric.name for metric in plan.experiment.metrics)
    if task.slot.reference is not None:
        reference = next(each for each, _ in plan.references if each.id == task.slot.reference)
        figure = reference.tool.measure(arm.levels, addresses, seconds=task.seconds)
        return Conducted(metrics={reference.metric: figure})
    guardrails = tuple(metric.name for metric in plan.experiment.metrics if metric.role == Role.GUARDRAIL)
    assignment = Assignment(plan.experiment.trial, arm, task.load, addresses, task.seconds, task.seed, metrics, guardrails)
    return conduct(assignment, clock=time.perf_counter_ns)
