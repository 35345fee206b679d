"""Cutting: run a writer in a place that may die, end the place at a given moment, recover it, and show what is left.

    place.prepare(folder) -> Stage      an empty place, for one writer and one cut
    stage.start(call)     -> channel    where its acknowledgements arrive, outside of what is cut
    stage.cut()                         the place is dead when this returns
    stage.recover()       -> Path       what a reader finds after the restart

Every place says what its cut models, because none of them models everything: a power cut of ours loses the page
cache, not the cache of the drive; the kill of a process loses neither, and is never called a power cut.
"""

import os
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mastery.components.component import Here, Missing
from mastery.errors import DomainError

Argument = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class WriterCall:
    """A writer by reference (`package.module:function` or `/folder/file.py:function`), so that another machine can run it.

    It is called as `writer(folder, acknowledge, **arguments)`. `prepare`, called as `prepare(folder, **arguments)`, makes
    what must already be safe on the disk when the writer starts; the place flushes it.
    """

    writer: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    prepare: str | None = None


class Since(StrEnum):
    """From which instant the time until the cut counts: the writer may start, or the writer has returned."""

    READY = "ready"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Moment:
    """When to cut. The caller draws `after_s` at random: a cut at a fixed phase could always miss the window.

    A cut that comes before `at_least` records were acknowledged waits for them.
    """

    after_s: float
    since: Since = Since.READY
    at_least: int = 0


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is left after one cut.

    `folder` can be read until the context ends, by this path as it is: it may be a door to a mount that lies in no
    folder, which `resolve()` would lose.
    """

    folder: Path
    kind: str
    models: str
    acknowledged: tuple[int, ...]
    finished: bool
    cut_after_s: float
    recovery_s: float
    # For each journal write that was seen: how many records had been acknowledged by then. A write is seen at most a
    # few milliseconds late, so records counted as acknowledged before it may be younger, never those counted after it.
    acknowledged_at_journal_write: tuple[int, ...] = ()
    # Promises that came while the cut was being made, by a place that does not die in one instant; they count for nothing.
    late: tuple[int, ...] = ()

    @property
    def acknowledged_since_journal_write(self) -> tuple[int, ...]:
        """What was acknowledged after the last journal write that was seen; all of it where none was."""
        start = self.acknowledged_at_journal_write[-1] if self.acknowledged_at_journal_write else 0
        return self.acknowledged[start:]


class Stage(Protocol):
    """A prepared place, good for one writer and one cut."""

    @property
    def instant(self) -> bool:
        """Whether everything in the place stops in one instant, so that what it said at all, it said before the cut."""

    def start(self, call: WriterCall) -> int:
        """Starts the writer; gives the descriptor at which its lines arrive, which the caller closes."""

    def cut(self) -> None:
        """Ends the place and everything in it at once; nothing in it runs any more when this returns."""

    def recover(self) -> Path:
        """Brings back what survived, as after a restart."""

    def diagnosis(self) -> str:
        """The last words of the place, for an error message."""


class CrashPlace(Protocol):
    """A kind of place that can be cut."""

    @property
    def kind(self) -> str:
        """What to call the cut in tables and titles, such as `power cut (shutdown ioctl, ext4)`."""

    @property
    def models(self) -> str:
        """What the cut loses and what it cannot lose."""

    def find(self, folder: Path) -> Here | Missing:
        """Whether this machine can do it, tried out in `folder`."""

    def prepare(self, folder: Path) -> AbstractContextManager[Stage]:
        """An empty place whose files lie in `folder`; nothing of it is left afterwards."""


class AckLog:
    """What the lines of one writer say; bytes are fed as they arrive, an unfinished last line is not believed."""

    def __init__(self) -> None:
        self.ready = False
        self.done = False
        self.failure: str | None = None
        self.acknowledged: list[int] = []
        self.at_journal_write: list[int] = []
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            match word:
                case "ready":
                    self.ready = True
                case "done":
                    self.done = True
                case "journal":
                    self.at_journal_write.append(len(self.acknowledged))
                case "failed":
                    self.failure = rest
                case _:
                    self.acknowledged.append(int(word))


@contextmanager
def run_and_cut(
    place: CrashPlace, call: WriterCall, moment: Moment, *, folder: Path, patience_s: float = 60.0
) -> Iterator[Aftermath]:
    """Runs the writer in the place, cuts at the moment, recovers, and hands out what is left for the length of the context.

    A writer that fails before the cut raises DomainError; what it meets after the cut (its file system is gone) does not.
    """
    with place.prepare(folder) as stage:
        log = AckLog()
        channel = stage.start(call)
        try:
            ready_s = _hear(stage, channel, log, Since.READY, patience_s=patience_s)
            start_s = ready_s if moment.since is Since.READY else _hear(stage, channel, log, Since.DONE, patience_s=patience_s)
            _listen_until(stage, channel, log, start_s + moment.after_s, at_least=moment.at_least, patience_s=patience_s)
            _catch_up(stage, channel, log)
            # The end of a file system moves its journal once more; only what was written before it counts.
            finished, journal_writes, promises = log.done, len(log.at_journal_write), len(log.acknowledged)
            stage.cut()
            cut_s = time.monotonic()
            while data := os.read(channel, 1 << 16):
                log.feed(data)
            if stage.instant:
                # What reached the channel was promised to the outside world before the end, read by us or not.
                promises = len(log.acknowledged)
        finally:
            os.close(channel)
        left = stage.recover()
        yield Aftermath(
            folder=left,
            kind=place.kind,
            models=place.models,
            acknowledged=tuple(log.acknowledged[:promises]),
            late=tuple(log.acknowledged[promises:]),
            finished=finished,
            cut_after_s=cut_s - ready_s,
            recovery_s=time.monotonic() - cut_s,
            acknowledged_at_journal_write=tuple(log.at_journal_write[:journal_writes]),
        )


def _hear(stage: Stage, channel: int, log: AckLog, event: Since, *, patience_s: float) -> float:
    """Listens until the writer is ready, or done; gives the instant."""
    deadline_s = time.monotonic() + patience_s
    while not (log.ready if event is Since.READY else log.done):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise DomainError(
                f"The writer was not {event} within {patience_s:g} s. {stage.diagnosis()}".strip(),
                remedy="Let it do less, or give the cut more patience.",
            )
        _listen(stage, channel, log, left_s)
    return time.monotonic()


def _listen_until(stage: Stage, channel: int, log: AckLog, instant_s: float, *, at_least: int, patience_s: float) -> None:
    """Listens until the instant, and until enough records were acknowledged."""
    deadline_s = time.monotonic() + patience_s
    while (left_s := instant_s - time.monotonic()) > 0:
        _listen(stage, channel, log, left_s)
    while len(log.acknowledged) < at_least:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise DomainError(
                f"The writer acknowledged {len(log.acknowledged)} of {at_least} records in time. {stage.diagnosis()}".strip(),
                remedy="Ask for fewer records, or give the cut more patience.",
            )
        _listen(stage, channel, log, left_s)


def _catch_up(stage: Stage, channel: int, log: AckLog) -> None:
    """Takes in what is waiting already; bounded, because a fast writer never stops."""
    for _ in range(16):
        if not select.select([channel], [], [], 0)[0]:
            return
        _listen(stage, channel, log, 0)


def _listen(stage: Stage, channel: int, log: AckLog, timeout_s: float) -> None:
    """Takes in what arrives within the time, or the first piece of it."""
    if not select.select([channel], [], [], timeout_s)[0]:
        return
    data = os.read(channel, 1 << 16)
    log.feed(data)
    if log.failure is not None:
        raise DomainError(f"The writer failed before the cut: {log.failure}.", remedy="Correct the writer or its arguments.")
    if not data:
        raise DomainError(
            f"The writer ended before the cut. {stage.diagnosis()}".strip(),
            remedy="A writer must not end its process: let it return, or raise.",
        )
