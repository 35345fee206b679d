"""What a run tells while it goes on: the one stream that the command line, the page and the store consume.

Planned, (TrialStarted, TrialFinished)*, BlocksFixed, (TrialStarted, TrialFinished)*, Advised*, Judged
"""

import msgspec

from mastery.lab.document import AdviceRecord, ArmRecord, RuleRecord, RunDocument, TrialRecord


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    """The base of all events; each travels as one line of JSON with its kind in `event`."""


class Planned(Event, frozen=True, kw_only=True):
    """The run is about to start; `trials` is the number expected so far, `seconds` the estimate."""

    run: str
    arms: list[ArmRecord]
    trials: int
    seconds: float


class TrialStarted(Event, frozen=True, kw_only=True):
    block: int
    arm: int
    placebo: bool = False


class TrialFinished(Event, frozen=True, kw_only=True):
    """A trial is over and recorded; `done` of `trials` (an estimate until the blocks are fixed)."""

    trial: TrialRecord
    done: int
    trials: int


class BlocksFixed(Event, frozen=True, kw_only=True):
    """The number of blocks is decided, before anything is judged."""

    rule: RuleRecord
    trials: int


class Advised(Event, frozen=True, kw_only=True):
    advice: AdviceRecord


class Judged(Event, frozen=True, kw_only=True):
    """The run is closed; the document is sealed."""

    document: RunDocument


AnyEvent = Planned | TrialStarted | TrialFinished | BlocksFixed | Advised | Judged


def as_line(event: AnyEvent) -> bytes:
    """One event as one line of JSON."""
    return msgspec.json.encode(event) + b"\n"


def from_line(line: bytes) -> AnyEvent:
    """The event that `as_line` wrote; raises `msgspec.DecodeError` for anything else."""
    event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    return event
