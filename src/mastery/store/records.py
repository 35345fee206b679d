"""What the store hands out: light rows of runs, runs that are still open, events."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mastery.lab.document import RunDocument, TrialRecord
from mastery.lab.histogram import Histogram


class Origin(StrEnum):
    """Whose run or event this is; what came from a file never becomes the reader's own."""

    OWN = "own"
    IMPORTED = "imported"


class Standing(StrEnum):
    """How far a run is: measured right now, closed as planned, or closed after it was stopped or killed."""

    OPEN = "open"
    CLOSED = "closed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as a list shows it, without its document; `machine` is the fingerprint, times are as the run wrote them."""

    id: str
    experiment: str
    article: str
    mode: str
    started: str
    finished: str | None
    standing: Standing
    origin: Origin
    machine: str
    hash: str | None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that was never closed: what was known when it began, who measures it, and every finished trial with its latencies."""

    id: str
    owner: str
    header: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    histograms: tuple[Histogram | None, ...]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """Something that happened once: `kind` is a verb in the past (`predicted`, `reviewed`), `at` a time in UTC (ISO 8601)."""

    id: str
    at: str
    actor: str
    kind: str
    body: dict[str, Any]
    origin: Origin = Origin.OWN


@dataclass(frozen=True, slots=True)
class ReceivedRun:
    """A run from a file, judged: what it says, and its canonical text as it was hashed."""

    document: RunDocument
    text: bytes


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import added, and how many lines were there already."""

    runs: int
    events: int
    known: int
