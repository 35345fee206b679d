"""The loops that time operations: the only place that reads a clock around an operation.

Closed: the next operation starts when the last has answered. Open: it starts at its intended time, or late when every
loader is busy, never skipped; its latency counts from the intended time (Tene, "How NOT to Measure Latency").
"""

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mastery.lab.operation import Op, Outcomes, Refused, Retry, Unknown

Clock = Callable[[], int]

# A loader sleeps until this long before an intended start and then spins: on a virtual machine a sleep was seen to
# return 0.1 ms late at the median and 1 ms late now and then, and a spin needs a processor only for this long.
SPIN_NS = 1_500_000


@dataclass(slots=True)
class Samples:
    """What one loader measured, in nanoseconds.

    `latencies` holds operations that ended ok, and those that ended in a retry or in doubt: their caller waited too.
    A refusal is an answer of another kind and is only counted. `lateness` (open loop) is how late a loader that was free
    started; `queueing` how late it started because it was busy.
    """

    latencies: "array[int]" = field(default_factory=lambda: array("q"))
    lateness: "array[int]" = field(default_factory=lambda: array("q"))
    queueing_ns: int = 0
    service_ns: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    started_ns: int = 0
    finished_ns: int = 0


def closed_loop(op: Op, *, clock: Clock, until_ns: int, operations: int | None, samples: Samples) -> None:
    """Runs `op(0), op(1), ...` until the time or the count is reached; two clock readings an operation."""
    record = samples.latencies.append
    outcomes = samples.outcomes
    # No operation has the number -2: without a count, only the time ends the loop.
    last = -2 if operations is None else operations - 1
    i = -1
    samples.started_ns = finished = clock()
    while finished < until_ns and i != last:
        i += 1
        started = clock()
        # In Python 3.11 and later a `try` that nothing is raised in costs nothing.
        try:
            op(i)
            finished = clock()
        except Refused:
            finished = clock()
            outcomes.refused += 1
            continue
        except Retry:
            finished = clock()
            outcomes.retry += 1
        except Unknown:
            finished = clock()
            outcomes.unknown += 1
        record(finished - started)
    samples.finished_ns = finished
    # Counted here, outside the loop: what was recorded and did not end otherwise ended ok.
    outcomes.ok = len(samples.latencies) - outcomes.retry - outcomes.unknown


def wait_until(due_ns: int, *, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> int:
    """Sleeps, then spins, until `due_ns`; returns the reading that ended the wait."""
    now = clock()
    while due_ns - now > SPIN_NS:
        sleep((due_ns - now - SPIN_NS) / 1e9)
        now = clock()
    while now < due_ns:
        now = clock()
    return now


def open_loop(
    op: Op,
    arrivals: Iterator[tuple[int, int]],
    *,
    clock: Clock,
    samples: Samples,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Runs `op(i)` at each intended start of `arrivals`, which yields pairs of number and absolute nanoseconds.

    Several loaders may draw from one iterator: the next arrival goes to whichever is free.
    """
    record = samples.latencies.append
    late = samples.lateness.append
    outcomes = samples.outcomes
    samples.started_ns = free_since = clock()
    for i, due_ns in arrivals:
        if free_since <= due_ns:
            started = wait_until(due_ns, clock=clock, sleep=sleep)
            late(started - due_ns)
        else:
            started = clock()
            samples.queueing_ns += started - due_ns
        try:
            op(i)
            free_since = clock()
        except Refused:
            free_since = clock()
            outcomes.refused += 1
            continue
        except Retry:
            free_since = clock()
            outcomes.retry += 1
        except Unknown:
            free_since = clock()
            outcomes.unknown += 1
        samples.service_ns += free_since - started
        record(free_since - due_ns)
    samples.finished_ns = free_since
    outcomes.ok = len(samples.latencies) - outcomes.retry - outcomes.unknown
