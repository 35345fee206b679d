"""What our own engine costs: the same empty turn by a bare loop and by the engine, and how late each lets a turn start."""

import os
from array import array
from collections.abc import Generator
from random import Random
from time import perf_counter_ns
from typing import Any

from mastery.components.disk import Folder, ScratchDisk
from mastery.lab import Arm, Arrivals, Closed, Factor, Metric, Once, Open, Recorded, Result, experiment

TURNS = 200_000
RATE_PER_S = 500
PACED_TURNS = 500
BLOCK = bytes(4096)


def nothing(_: int) -> None:
    """The empty operation."""


def bare_turns() -> float:
    """Seconds per turn of a loop that reads the clock twice a turn and does nothing else."""
    clock = perf_counter_ns
    began = clock()
    for _ in range(TURNS):
        clock()
        clock()
    return (clock() - began) / TURNS / 1e9


def bare_pacing() -> float:
    """The 99th percentile of lateness, in seconds, of a loop that only spins to absolute deadlines."""
    clock = perf_counter_ns
    late = array("q", bytes(8 * PACED_TURNS))
    begin = clock()
    for turn in range(PACED_TURNS):
        due = begin + (turn + 1) * 1_000_000_000 // RATE_PER_S
        now = clock()
        while now < due:
            now = clock()
        late[turn] = now - due
    return sorted(late)[round(0.99 * PACED_TURNS) - 1] / 1e9


@experiment(
    id="engine-cost",
    question="What does the engine add to a turn of an empty operation?",
    factors=[Factor("loop", ["bare", "engine", "engine with history"], baseline="bare")],
    metrics=[Metric("turn", "s", primary=True, meaning="time per turn"), Metric("seconds", "s")],
    load=Closed(operations=TURNS),
    overhead_s=0.3,
)
def engine_cost(arm: Arm) -> Generator[Any, Result, None]:
    """As many turns by each loop."""
    if arm.loop == "bare":
        result = yield Once(bare_turns)
        result.record(turn=result.value, seconds=result.seconds)
    else:
        result = yield nothing if arm.loop == "engine" else Recorded(nothing)
        result.record(turn=result.seconds / result.operations)


@experiment(
    id="pacing",
    question="How late does an open loop of the engine start its operations?",
    factors=[Factor("loop", ["bare", "engine"], baseline="bare")],
    # Counted, not compared: the engine's own lateness stands in the load figures of its trials.
    metrics=[Metric("late_p99", "s", role="guardrail", primary=True, meaning="99th percentile of lateness, of the bare loop")],
    load=Open(rate=RATE_PER_S, arrivals=Arrivals.REGULAR),
)
def pacing(arm: Arm) -> Generator[Any, Result, None]:
    """Both loops on one and the same processor."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if arm.loop == "bare":
        result = yield Once(bare_pacing)
        result.record(late_p99=result.value)
    else:
        yield nothing


def sort_some(_: int) -> None:
    """About a tenth of a millisecond of computing."""
    random = Random(1)
    sorted(random.random() for _ in range(1_000))


@experiment(
    id="same-and-same",
    question="Does the engine see a difference where there is none?",
    factors=[Factor("operation", ["flush", "compute"], baseline="flush")],
    metrics=[Metric("p50", "s", primary=True), Metric("throughput", "op/s", better="higher")],
    load=Closed(),
    resources={"disk": ScratchDisk(free="200 MiB")},
    overhead_s=0.01,
)
def same_and_same(arm: Arm, disk: Folder) -> Generator[Any, Result, None]:
    """One arm only is asked for: it is then compared with itself."""
    if arm.operation == "compute":
        yield sort_some
        return
    file = os.open(disk.path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def commit(_: int) -> None:
        os.write(file, BLOCK)
        os.fdatasync(file)

    yield commit
    os.close(file)
