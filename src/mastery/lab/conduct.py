"""One trial from beginning to end: runs the trial function, drives what it yields, and folds the samples into metrics."""

import gc
import math
import os
from array import array
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from mastery.components.power_cut import Moment, run_and_cut
from mastery.errors import BrokenExperiment, DomainError
from mastery.lab.disturbance import Disturbance, Readings
from mastery.lab.document import plain
from mastery.lab.experiment import Arm, TrialFunction
from mastery.lab.histogram import Histogram
from mastery.lab.load import Load, Open
from mastery.lab.loaders import Drive, Gathered, drive
from mastery.lab.operation import (
    Batched,
    Crash,
    HistoryEntry,
    Loader,
    Once,
    Op,
    Outcomes,
    PerWorker,
    Recorded,
    Result,
    Unknown,
    VoidByRule,
)
from mastery.lab.operation import Outcome as Ended
from mastery.lab.percentiles import trial_percentile_ns
from mastery.lab.queueing import littles_law
from mastery.lab.steady import steady_state
from mastery.lab.trial import Clock, Samples

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

# Where the answers to a load take longer than the load by more than this, the queue grows for as long as the load lasts: no
# percentile exists.
STABLE_SHARE = 0.95
# A free loader that starts later than this at the 99th percentile, and later than a tenth of the latency it is to show,
# did not offer the load it was asked for.
LATE_NS = 5_000_000
# Below this mean the clock readings and the loop itself are a visible share of a turn, and Little's law says only that.
LITTLE_FROM_NS = 50_000


class GeneratorSaturated(VoidByRule):
    """The load generator, not the system, was the bottleneck."""

    rule = "generator saturated"


class NothingMeasured(VoidByRule):
    """The load ended before any operation did."""

    rule = "nothing measured"


class FiguresDisagree(VoidByRule):
    """Little's law does not hold for the trial's own figures: its loaders spent their time outside operations."""

    rule = "figures disagree"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything one trial needs, in plain values: it crosses a fork."""

    trial: TrialFunction
    arm: Arm
    load: Load
    addresses: Mapping[str, Any]
    seconds: float
    seed: int
    metrics: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()


@dataclass(slots=True)
class Conducted:
    """What came out of a trial: figures by name, the load as it really was, and a histogram of latencies."""

    metrics: dict[str, float] = field(default_factory=dict)
    load: dict[str, float | str] = field(default_factory=dict)
    histogram: Histogram | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    disturbance: Disturbance | None = None
    seconds: float = 0.0


def conduct(assignment: Assignment, *, clock: Clock) -> Conducted:
    """Runs one trial in this process. Whatever it raises voids the trial; the caller records the cause."""
    conducted = Conducted()
    began = clock()
    steps = assignment.trial(assignment.arm, **assignment.addresses)
    try:
        wanted = next(steps)
        while True:
            # What is left of a crash can be read until the trial function asks for something else.
            with ExitStack() as stack:
                result = _perform(wanted, assignment, clock, conducted, stack)
                finished = _resume(steps, result)
            conducted.metrics.update(result.metrics)
            conducted.notes.update(result.notes)
            if finished is None:
                break
            wanted = finished[0]
    except StopIteration:
        raise BrokenExperiment(
            "The trial function ended without a yield: nothing was measured.", remedy="Yield the operation to be measured."
        ) from None
    finally:
        steps.close()
    conducted.seconds = (clock() - began) / 1e9
    _refuse_what_no_document_holds(conducted)
    # What nobody declared has no unit and no direction: a misspelt name must not vanish in silence.
    if unknown := sorted(set(conducted.metrics) - set(assignment.metrics)):
        raise BrokenExperiment(
            f"The trial recorded {', '.join(unknown)}, which the experiment does not declare.",
            remedy=f"Its metrics are {', '.join(assignment.metrics)}.",
        )
    # The bound on how often a loss may still happen counts trials with any: less than nothing was lost in none.
    if negative := sorted(name for name in assignment.guardrails if conducted.metrics.get(name, 0.0) < 0):
        raise DomainError(
            f"The guardrail {negative[0]} was {conducted.metrics[negative[0]]:g}; what is lost or wrong is counted from 0.",
            remedy="Record its magnitude, or declare it as a cost.",
        )
    return conducted


def _refuse_what_no_document_holds(conducted: Conducted) -> None:
    """A figure that is not finite, or a note that is no JSON, must void its trial and not the run that would store it."""
    if odd := [name for name, figure in conducted.metrics.items() if not math.isfinite(figure)]:
        raise BrokenExperiment(
            f"The trial recorded {odd[0]} = {conducted.metrics[odd[0]]}.", remedy="Leave out a figure that was not measured."
        )
    try:
        conducted.notes = plain(msgspec.to_builtins(conducted.notes))
    except (TypeError, ValueError) as reason:
        raise BrokenExperiment(f"The trial noted what is no JSON: {reason}.", remedy="Note plain values.") from reason


def _resume(steps: Generator[Any, Any, None], result: Result) -> tuple[Any] | None:
    """Hands the result to the trial function; what it yields next, or None when it has ended."""
    try:
        return (steps.send(result),)
    except StopIteration:
        return None


def _perform(wanted: Any, assignment: Assignment, clock: Clock, conducted: Conducted, stack: ExitStack) -> Result:
    match wanted:
        case Once(measure, seeded):
            given = (Random(assignment.seed),) if seeded else ()
            began = clock()
            value = measure(*given)
            return Result(operations=1, seconds=(clock() - began) / 1e9, value=value)
        case Crash(site, call, after_s, since):
            moment = Moment(Random(assignment.seed).uniform(*after_s), since)
            aftermath = stack.enter_context(run_and_cut(site.place, call, moment, folder=site.folder))
            return Result(operations=len(aftermath.acknowledged), seconds=aftermath.cut_after_s, value=aftermath)
        case Recorded(op, at_most_s):
            shorter = replace(assignment, seconds=min(assignment.seconds, at_most_s))
            return _drive(_recording(op, clock), 1, shorter, clock, conducted)
        case Batched(op, count):
            return _drive(op, count, assignment, clock, conducted)
        case PerWorker():
            return _drive(wanted, 1, assignment, clock, conducted)
        case _ if callable(wanted):
            return _drive(wanted, 1, assignment, clock, conducted)
    raise BrokenExperiment(
        f"The trial function yielded {wanted!r}.",
        remedy="Yield a callable op(i), or one of PerWorker, Batched, Recorded, Once, Crash.",
    )


def _drive(op: Op | PerWorker, batch: int, assignment: Assignment, clock: Clock, conducted: Conducted) -> Result:
    readings = Readings.start()
    cpu_before = _cpu_seconds()
    # A collection in the middle would be charged to whichever operation it hit; what exists now never becomes garbage here.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        gathered = drive(op, Drive(assignment.load, assignment.seconds, assignment.seed, clock))
    finally:
        gc.enable()
        gc.unfreeze()
    cpu_s = _cpu_seconds() - cpu_before
    # The first load of a trial gives its figures; a later one is there for its history alone.
    into = Conducted() if conducted.load else conducted
    into.disturbance = readings.finish()
    folding = clock()
    result = _fold(gathered, batch, assignment, cpu_s, into)
    into.load["folding_s"] = (clock() - folding) / 1e9
    if into is not conducted:
        result.metrics.clear()
    return result


def _recording(op: Op | PerWorker, clock: Clock) -> PerWorker:
    """The operation with a history beside it: who invoked what, when it returned, and how it ended."""

    class Recording:
        def __init__(self, loader: Loader) -> None:
            self._loader = loader
            self._entered = op.make(loader) if isinstance(op, PerWorker) else None

        def __enter__(self) -> Op:
            inner = self._entered.__enter__() if self._entered else op
            assert not isinstance(inner, PerWorker)
            loader = self._loader

            def recorded(i: int) -> None:
                # Whatever is raised beside the outcomes voids the trial; its entry must not claim to know.
                value: object = None
                ended = "unknown"
                invoked = clock()
                try:
                    value = inner(i)
                    ended = "ok"
                except Ended as ending:
                    value, ended = ending.did, "unknown" if isinstance(ending, Unknown) else "fail"
                    raise
                finally:
                    loader.history.append(HistoryEntry(loader.index, invoked, clock(), ended, value))

            return recorded

        def __exit__(self, *exception: Any) -> None:
            if self._entered:
                self._entered.__exit__(*exception)

    return PerWorker(Recording)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _joined(parts: list["array[int]"]) -> npt.NDArray[np.int64]:
    filled = [np.frombuffer(part, dtype=np.int64) for part in parts if len(part)]
    return np.concatenate(filled) if filled else np.empty(0, dtype=np.int64)


def _fold(gathered: Gathered, batch: int, assignment: Assignment, cpu_s: float, conducted: Conducted) -> Result:
    """Turns raw samples into the figures of the declaration; runs outside everything that is timed."""
    samples = gathered.samples
    latencies = _joined([each.latencies for each in samples])
    outcomes = Outcomes(
        ok=sum(each.outcomes.ok for each in samples) * batch,
        refused=sum(each.outcomes.refused for each in samples) * batch,
        retry=sum(each.outcomes.retry for each in samples) * batch,
        unknown=sum(each.outcomes.unknown for each in samples) * batch,
    )
    seconds = (max(each.finished_ns for each in samples) - min(each.started_ns for each in samples)) / 1e9
    seconds = max(seconds, 1e-9)
    if not outcomes.all:
        raise NothingMeasured("no operation ended within the trial")
    result = Result(
        operations=outcomes.all,
        seconds=seconds,
        outcomes=outcomes,
        tally=gathered.tally,
        history=tuple(sorted(gathered.history, key=lambda entry: entry.invoked_ns)),
    )
    load = assignment.load
    conducted.load.update(
        {
            "loop": "open" if isinstance(load, Open) else "closed",
            "loaders": load.loaders,
            "operations": outcomes.all,
            "completed_per_s": outcomes.ok / seconds,
            "refused": outcomes.refused,
            "retried": outcomes.retry,
            "unknown": outcomes.unknown,
        }
    )
    histogram = Histogram.from_samples(latencies)
    stable = True
    if isinstance(load, Open):
        stable = _judge_open(load, gathered, histogram, seconds=assignment.seconds, conducted=conducted)
    else:
        _check_bookkeeping(gathered, seconds=seconds, mean_ns=histogram.mean_ns if histogram.count else 0.0)
    if batch == 1 and stable and histogram.count:
        conducted.histogram = histogram
    conducted.load["steadiness"] = steady_state(_finish_times(samples), latencies).steadiness
    figures = _engine_metrics(histogram if stable else None, batch, outcomes, seconds, cpu_s)
    figures["throughput"] = outcomes.ok / seconds
    figures["retries"] = (outcomes.retry + gathered.tally["retries"]) / max(1, outcomes.all)
    result.record(**{name: figure for name, figure in figures.items() if name in assignment.metrics})
    return result


def _finish_times(samples: list[Samples]) -> npt.NDArray[np.int64]:
    """About when each latency was taken: a loader's operations follow each other at its own pace."""
    parts = [
        np.linspace(0.0, (each.finished_ns - each.started_ns), num=len(each.latencies)).astype(np.int64)
        for each in samples
        if len(each.latencies)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _check_bookkeeping(gathered: Gathered, *, seconds: float, mean_ns: float) -> None:
    """A closed loop's loaders are always inside an operation; what lies outside was the generator's, not the system's."""
    if mean_ns < LITTLE_FROM_NS:
        return
    in_flight = sum(each.finished_ns - each.started_ns for each in gathered.samples) / 1e9 / seconds
    ended = sum(len(each.latencies) for each in gathered.samples)
    refused = sum(each.outcomes.refused for each in gathered.samples)
    law = littles_law(in_flight=in_flight, throughput_per_s=ended / seconds, latency_mean_s=mean_ns / 1e9)
    if not refused and not law.holds():
        raise FiguresDisagree(
            f"{law.in_flight:.2f} loaders were at work but their operations account for {law.implied:.2f}: "
            "Little's law misses by more than 5 %"
        )


def _engine_metrics(histogram: Histogram | None, batch: int, outcomes: Outcomes, seconds: float, cpu_s: float) -> dict[str, float]:
    """What the engine itself can say; percentiles only where the trial has the samples for its own."""
    figures = {
        "errors": float(outcomes.refused + outcomes.unknown),
        "unknown": float(outcomes.unknown),
        "seconds": seconds,
        "cpu": cpu_s / max(1, outcomes.all),
    }
    if histogram is not None and histogram.count:
        figures["mean"] = histogram.mean_ns / batch / 1e9
        figures["max"] = histogram.max_ns / batch / 1e9
        for name, quantile in PERCENTILES.items() if batch == 1 else ():
            own_ns = trial_percentile_ns(histogram, quantile)
            if own_ns is not None:
                figures[name] = own_ns / 1e9
    return figures


def _judge_open(load: Open, gathered: Gathered, histogram: Histogram, *, seconds: float, conducted: Conducted) -> bool:
    """Notes offered, achieved and completed rates and lateness; False when the system did not keep up with the load."""
    samples = gathered.samples
    lateness = _joined([each.lateness for each in samples])
    late_p50, late_p99 = np.quantile(lateness, [0.5, 0.99]) if lateness.size else (0.0, 0.0)
    ended = sum(each.outcomes.all for each in samples)
    # The last answers may come after the last intended start: a system that keeps up needs no more time than the load.
    took_s = max(seconds, (max(each.finished_ns for each in samples) - min(each.started_ns for each in samples)) / 1e9)
    stable = seconds >= STABLE_SHARE * took_s
    conducted.load.update(
        {
            "offered_per_s": load.rate,
            "achieved_per_s": ended / seconds,
            "completed_per_s": ended / took_s,
            "lateness_p50_s": float(late_p50) / 1e9,
            "lateness_p99_s": float(late_p99) / 1e9,
            "queueing_mean_s": sum(each.queueing_ns for each in samples) / 1e9 / max(1, ended),
            "busy_share": sum(each.service_ns for each in samples) / 1e9 / took_s / load.loaders,
            "stable": "yes" if stable else "no",
        }
    )
    if stable and late_p99 > LATE_NS and histogram.count and late_p99 > 0.1 * histogram.percentile_ns(0.99):
        raise GeneratorSaturated(
            f"loaders that were free started {late_p99 / 1e6:.1f} ms late at the 99th percentile, "
            f"so {load.rate:.0f} op/s were not offered as planned"
        )
    return stable
