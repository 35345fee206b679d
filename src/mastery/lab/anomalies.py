"""The ten anomalies by their names, and for each the smallest case of ours in which a store may show it.

The names are those of Berenson et al. (P4), Adya (G0, G1a, G1b, G1c, G-single, G2-item, G2) and Bailis et al. (OTV, PMP);
the cases follow the questions of the Hermitage suite. A case says only what the sessions do: whether its anomaly
happened in an order is decided from what they saw (mastery.lab.history.transactions).
"""

from dataclasses import dataclass
from enum import StrEnum

from mastery.errors import UnknownName
from mastery.lab.interleaving import Order
from mastery.lab.statements import Abort, Between, Commit, Increment, Insert, Read, ReadWhere, Row, Statement, Write


class Anomaly(StrEnum):
    """What committed transactions must not be able to see. `Ti -rw-> Tj`: Ti read a version that Tj replaced."""

    G0 = "G0"  # dirty write: a cycle of overwrites alone
    G1A = "G1a"  # aborted read: a version of a transaction that aborted
    G1B = "G1b"  # intermediate read: a version that its writer replaced itself
    G1C = "G1c"  # circular information flow: a cycle of overwrites and at least one read of the other's version
    OTV = "OTV"  # observed transaction vanishes: saw one write of Ti, and later missed another one
    PMP = "PMP"  # predicate-many-preceders: two overlapping predicates in one transaction match different rows
    P4 = "P4"  # lost update: read a row, then overwrote a version of it that somebody wrote in between
    G_SINGLE = "G-single"  # read skew: a cycle with exactly one -rw->
    G2_ITEM = "G2-item"  # write skew: a cycle with two or more -rw-> over rows
    G2 = "G2"  # write skew over predicates: a cycle with two or more -rw->, at least one by a predicate's matches


@dataclass(frozen=True, slots=True)
class Case:
    """The rows before, and what each session does; `begin` belongs to a session's first statement."""

    anomaly: Anomaly
    sessions: tuple[tuple[Statement, ...], ...]
    rows: tuple[Row, ...] = (Row("x", 10), Row("y", 20))

    def __post_init__(self) -> None:
        for number, steps in enumerate(self.sessions):
            ends = [isinstance(step, Commit | Abort) for step in steps]
            assert ends.count(True) == 1 and ends[-1], f"session {number} of {self.anomaly} ends once, with its last step"
        inserted = [step.key for steps in self.sessions for step in steps if isinstance(step, Insert)]
        assert len({*inserted, *(row.key for row in self.rows)}) == len(inserted) + len(self.rows), "a key is made once"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Steps per session: what the orders are counted from."""
        return tuple(len(steps) for steps in self.sessions)

    def says(self, order: Order) -> str:
        """The order in words: `T1 writes x=11; T2 reads x; ...`, sessions from 1 as people count them."""
        done = [0] * len(self.sessions)
        words = []
        for session in order:
            words.append(f"T{session + 1} {describe(self.sessions[session][done[session]])}")
            done[session] += 1
        return "; ".join(words)


def describe(statement: Statement) -> str:
    """A statement in a few words, for explanations."""
    match statement:
        case Read(key):
            words = f"reads {key}"
        case ReadWhere(where):
            words = f"reads {where.low}..{where.high}"
        case Write(key, value):
            words = f"writes {key}={value}"
        case Increment(key, by):
            words = f"adds {by} to {key}"
        case Insert(key, value):
            words = f"inserts {key}={value}"
        case Commit():
            words = "commits"
        case Abort():
            words = "aborts"
    return words


CASES: tuple[Case, ...] = (
    # Both write both rows; whoever is second on one row must be second on the other.
    Case(Anomaly.G0, ((Write("x", 11), Write("y", 21), Commit()), (Write("x", 12), Write("y", 22), Commit()))),
    Case(Anomaly.G1A, ((Write("x", 101), Abort()), (Read("x"), Read("x"), Commit()))),
    Case(Anomaly.G1B, ((Write("x", 101), Write("x", 11), Commit()), (Read("x"), Read("x"), Commit()))),
    Case(Anomaly.G1C, ((Write("x", 11), Read("y"), Commit()), (Write("y", 22), Read("x"), Commit()))),
    # Two writers of the same rows, and a third who must not see one write of theirs and miss the other afterwards.
    Case(
        Anomaly.OTV,
        (
            (Write("x", 11), Write("y", 19), Commit()),
            (Write("x", 12), Write("y", 18), Commit()),
            (Read("x"), Read("y"), Commit()),
        ),
    ),
    # The two predicates differ and overlap in 30..35, where the other session inserts.
    Case(
        Anomaly.PMP,
        ((ReadWhere(Between(25, 35)), ReadWhere(Between(30, 45)), Commit()), (Insert("z", 31), Commit())),
    ),
    Case(Anomaly.P4, ((Read("x"), Write("x", 11), Commit()), (Read("x"), Write("x", 12), Commit()))),
    Case(Anomaly.G_SINGLE, ((Read("x"), Read("y"), Commit()), (Write("x", 12), Write("y", 18), Commit()))),
    # Each reads both rows and writes the one that the other does not.
    Case(
        Anomaly.G2_ITEM,
        ((Read("x"), Read("y"), Write("x", 11), Commit()), (Read("x"), Read("y"), Write("y", 21), Commit())),
    ),
    # Each looks for rows in a range, finds none, and inserts one there.
    Case(
        Anomaly.G2,
        (
            (ReadWhere(Between(30, 45)), Insert("z", 31), Commit()),
            (ReadWhere(Between(30, 45)), Insert("w", 42), Commit()),
        ),
    ),
)


def case_of(name: str) -> Case:
    """The case with this name (`G-single`); raises UnknownName with the nearest names."""
    for case in CASES:
        if case.anomaly.value.lower() == name.lower():
            return case
    raise UnknownName("anomaly", name, [case.anomaly.value for case in CASES], remedy="Use one of the ten names of the matrix.")
