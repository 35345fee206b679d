"""A tiny typed language of statements over keyed rows, which every store under test can run and every checker can read.

Each row has a key, a value and a *trace*: the ids of the writes that made it, oldest first. A write appends its own
id in the same atomic statement, so a row that anybody reads tells which version it is and which versions came before.
The order of versions is thus observed, never guessed from values.
"""

from dataclasses import dataclass
from typing import NamedTuple


class WriteId(NamedTuple):
    """Which statement wrote: the session and its place in the session's list, both from 0."""

    session: int
    step: int

    def __str__(self) -> str:
        return f"{self.session}.{self.step}"


@dataclass(frozen=True, slots=True)
class Between:
    """The predicate `low <= value <= high`; a range, so that the overlap of two predicates is a range as well."""

    low: int
    high: int

    def matches(self, value: int) -> bool:
        return self.low <= value <= self.high

    def overlap(self, other: "Between") -> "Between | None":
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Between(low, high) if low <= high else None


@dataclass(frozen=True, slots=True)
class Read:
    """The row of one key, or nothing."""

    key: str


@dataclass(frozen=True, slots=True)
class ReadWhere:
    """Every row that the predicate matches."""

    where: Between


@dataclass(frozen=True, slots=True)
class Write:
    """Sets the value of an existing row without looking at it."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Increment:
    """Adds to the value inside the store: a read and a write in one statement."""

    key: str
    by: int


@dataclass(frozen=True, slots=True)
class Insert:
    """Makes a row; in one case a key is inserted at most once and never exists before."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Ends the transaction and asks for its effects to stay."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Ends the transaction and takes its effects back."""


Statement = Read | ReadWhere | Write | Increment | Insert | Commit | Abort
Changing = Write | Increment | Insert


@dataclass(frozen=True, slots=True)
class Row:
    """One row as a store returned it. A changing statement returns the row that it made."""

    key: str
    value: int
    trace: tuple[WriteId, ...] = ()


def trace_to_text(trace: tuple[WriteId, ...]) -> str:
    """`0.1 1.0 `: every id ends with a space, so that a store appends by concatenating."""
    return "".join(f"{each} " for each in trace)


def trace_from_text(text: str) -> tuple[WriteId, ...]:
    return tuple(WriteId(int(session), int(step)) for session, _, step in (word.partition(".") for word in text.split()))
