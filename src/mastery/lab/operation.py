"""What a trial function yields to the engine, and what it gets back."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from mastery.components.crash_site import CrashSite
from mastery.components.power_cut import Since, WriterCall

Op = Callable[[int], object]


class Outcome(Exception):
    """An end of an operation other than ok; `did` is what it tried, for the history."""

    def __init__(self, *words: object, did: object = None) -> None:
        super().__init__(*words)
        self.did = did


class Refused(Outcome):
    """The system answered no, on purpose (full, limited, conflicting): an outcome, not a fault."""


class Retry(Outcome):
    """The system asked for the operation to be tried again, and its own tries are used up."""


class Unknown(Outcome):
    """Nobody knows whether the operation took effect (a time-out, a lost connection); it stays unknown."""


class VoidByRule(Exception):
    """The trial is void by a rule that was stated before the run; `rule` is its name, the message what was seen."""

    rule: ClassVar[str]


class LevelNotInEffect(VoidByRule):
    """The arm's level was not in effect."""

    rule = "manipulation check"


@dataclass(slots=True)
class Loader:
    """One of the threads or processes that drive the load: its number, its randomness, and what it counts.

    `tally` is summed over the loaders into `Result.tally`; `history` is joined into `Result.history`.
    """

    index: int
    rng: Random
    tally: Counter[str] = field(default_factory=Counter)
    history: list["HistoryEntry"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PerWorker:
    """`make(loader)` is entered once in each loader, after its fork, and gives that loader's operation."""

    make: Callable[[Loader], AbstractContextManager[Op]]


@dataclass(frozen=True, slots=True)
class Batched:
    """`op` does `count` operations at once, where one is too short for the clock; no percentiles then."""

    op: Op
    count: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What one operation did and when: `value` is what it returned, or carried in its exception's `did`."""

    process: int
    invoked_ns: int
    returned_ns: int
    outcome: str
    value: Any


@dataclass(frozen=True, slots=True)
class Recorded:
    """Writes down when each operation was invoked and returned, and what it returned, for the history checkers.

    `at_most_s` bounds the load, because checkers read every entry, and some grow faster than their history.
    """

    op: Op | PerWorker
    at_most_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Once:
    """Something that measures by itself (time to start, to recover, an exact count); its value comes back.

    What draws a sample takes the trial's randomness: with `seeded` it is called as `measure(rng)`.
    """

    measure: Callable[..., object]
    seeded: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """Runs a writer in a place that dies, then recovers the place; `Result.value` is the aftermath.

    The aftermath's folder can be read until the trial function yields again or ends. `after_s` is the range in seconds
    from which the seed draws the moment of the cut: a cut at a fixed phase could always miss the window. It counts from
    when the writer may start, or from when it has returned.
    """

    site: CrashSite
    call: WriterCall
    after_s: tuple[float, float] = (0.05, 0.25)
    since: Since = Since.READY


@dataclass(slots=True)
class Outcomes:
    """How many operations ended how."""

    ok: int = 0
    refused: int = 0
    retry: int = 0
    unknown: int = 0

    @property
    def all(self) -> int:
        return self.ok + self.refused + self.retry + self.unknown


@dataclass(slots=True)
class Result:
    """What the engine hands back to the trial function: the figures so far, and the places to add to them."""

    operations: int = 0
    seconds: float = 0.0
    outcomes: Outcomes = field(default_factory=Outcomes)
    tally: Counter[str] = field(default_factory=Counter)
    history: tuple[HistoryEntry, ...] = ()
    # What `Once` returned, or the aftermath of a `Crash`.
    value: Any = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def record(self, **metrics: float) -> None:
        """Adds metrics of this trial under the names of the declaration."""
        for name, figure in metrics.items():
            self.metrics[name] = float(figure)

    def note(self, **notes: Any) -> None:
        """Adds plain JSON values that explain the figures (an order tried, an example of an anomaly)."""
        self.notes.update(notes)

    def in_effect(self, what: str, observed: object, expected: object) -> None:
        """The manipulation check: voids the trial unless the level was in effect."""
        if observed != expected:
            raise LevelNotInEffect(f"{what} was {observed!r}, the arm asks for {expected!r}")
