"""Checks transactions that append to lists and read them, as Elle does: a list that was read tells its whole past.

Every appended value is unique under its key, so each value names its writer, and the longest list read of a key gives the
order of its versions. From these follow the dependencies between transactions; cycles among them, and what no order
could explain (aborted, intermediate, duplicate or lost values), are anomalies.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from mastery.errors import DomainError
from mastery.lab.anomalies import Anomaly
from mastery.lab.history.dependency import Dependency, Edge, find_cycles
from mastery.lab.history.operations import End, end_of
from mastery.lab.history.transactions import Judgement
from mastery.lab.operation import HistoryEntry


@dataclass(frozen=True, slots=True)
class Append:
    """Adds a value that nobody else adds to this key."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class ReadList:
    """The whole list as the transaction saw it; None when it did not learn it (it failed before, or its end is unknown)."""

    key: str
    values: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one transaction did, in its own order. `fail` promises an abort."""

    actions: tuple[Append | ReadList, ...]
    end: End = End.OK
    process: int = 0


class Broken(StrEnum):
    """What is wrong beyond Adya's anomalies."""

    DUPLICATE = "duplicate"  # one value twice in a list
    FORKED = "forked"  # two lists of one key of which neither begins the other
    GARBAGE = "garbage"  # a value that nobody appended
    INTERNAL = "internal"  # a transaction that does not see its own appends, or sees a list change under it
    LOST = "lost-append"  # a committed value that the final list lacks


@dataclass(frozen=True, slots=True)
class ListAppendReport:
    """What the history exhibits, one example sentence each; `unknown` when nothing was read, or the search was cut short."""

    judgement: Judgement
    anomalies: frozenset[Anomaly | Broken] = frozenset()
    why: tuple[str, ...] = ()
    transactions: int = 0


def transactions_of(history: Iterable[HistoryEntry]) -> tuple[Transaction, ...]:
    """The recorded history of a trial whose operations return (or carry in `did`) a tuple of actions."""
    transactions: list[Transaction] = []
    for entry in history:
        actions = entry.value
        if not isinstance(actions, tuple) or not all(isinstance(each, Append | ReadList) for each in actions):
            raise DomainError(
                f"A transaction of process {entry.process} ended {entry.outcome} and left {actions!r} in its history.",
                remedy="Return a tuple of Append and ReadList from the operation, and raise its outcomes with did=(...).",
            )
        transactions.append(Transaction(actions, end_of(entry), entry.process))
    return tuple(transactions)


def check_list_append(transactions: Sequence[Transaction], *, final: Mapping[str, Sequence[int]] | None = None) -> ListAppendReport:
    """Judges a history; transactions are T1, T2 ... in its sentences, by their place in the sequence.

    `final` holds every list as read after the last transaction: only against it can a committed append be called lost.
    """
    book = _Book(transactions, final or {})
    proofs: dict[Anomaly | Broken, str] = {}
    for anomaly, sentence in _proofs(book, final):
        proofs.setdefault(anomaly, sentence)
    cycles, complete = find_cycles(_edges(book))
    proofs |= {cycle.anomaly: str(cycle) for cycle in cycles}
    if proofs:
        return ListAppendReport(Judgement.ANOMALOUS, frozenset(proofs), tuple(proofs.values()), len(transactions))
    if not complete:
        return _undecided("The search for cycles was cut short by its budget.", transactions)
    if not any(True for _ in book.reads()) and not final:
        return _undecided("No committed transaction read a list, so nothing could be inferred.", transactions)
    return ListAppendReport(Judgement.CLEAN, transactions=len(transactions))


def _undecided(why: str, transactions: Sequence[Transaction]) -> ListAppendReport:
    return ListAppendReport(Judgement.UNKNOWN, why=(why,), transactions=len(transactions))


@dataclass(slots=True)
class _Book:
    """The history by keys: who appended what, and the longest list that anybody read."""

    transactions: Sequence[Transaction]
    final: Mapping[str, Sequence[int]]
    writer: dict[tuple[str, int], int] = field(default_factory=dict)
    last_append: dict[tuple[int, str], int] = field(default_factory=dict)
    longest: dict[str, tuple[int, ...]] = field(default_factory=dict)
    reader: dict[str, str] = field(default_factory=dict)
    forked: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, transaction in enumerate(self.transactions):
            for action in transaction.actions:
                if isinstance(action, Append):
                    self._enter(number, action)
        lists = [(f"T{number + 1}", read.key, values) for number, read, values in self.reads()]
        lists += [("The final look", key, tuple(values)) for key, values in self.final.items()]
        for reader, key, values in lists:
            known = self.longest.get(key, ())
            longer, shorter = (values, known) if len(values) > len(known) else (known, values)
            if longer[: len(shorter)] != shorter:
                self.forked.setdefault(key, (shorter, longer))
            if longer is values or key not in self.longest:
                self.longest[key], self.reader[key] = longer, reader

    def _enter(self, number: int, action: Append) -> None:
        if (action.key, action.value) in self.writer:
            raise DomainError(
                f"The value {action.value} is appended to {action.key!r} twice, so it does not name its writer.",
                remedy="Give every append of a key a value of its own.",
            )
        self.writer[action.key, action.value] = number
        self.last_append[number, action.key] = action.value

    def reads(self) -> Iterator[tuple[int, ReadList, tuple[int, ...]]]:
        """What committed transactions read, by (transaction, action, list); the others' replies promise nothing."""
        for number, transaction in enumerate(self.transactions):
            if transaction.end is End.OK:
                for action in transaction.actions:
                    if isinstance(action, ReadList) and action.values is not None:
                        yield number, action, action.values

    def writer_of(self, key: str, value: int) -> int | None:
        """Who appended it, unless it aborted or nobody did. An unknown one whose value was read has committed."""
        number = self.writer.get((key, value))
        return None if number is None or self.transactions[number].end is End.FAIL else number

    def foreign(self, reader: int, key: str, values: tuple[int, ...]) -> tuple[int, ...]:
        """A list without what the reader appended itself at its end: the version that it depends on."""
        end = len(values)
        while end and self.writer.get((key, values[end - 1])) == reader:
            end -= 1
        return values[:end]


def _proofs(book: _Book, final: Mapping[str, Sequence[int]] | None) -> Iterator[tuple[Anomaly | Broken, str]]:
    # A list that begins a longer one holds nothing that the longer one lacks: unless a key forked, one list tells all.
    for key, values in book.longest.items():
        if key not in book.forked:
            yield from _wrong_values(book, key, values, f"{book.reader[key]} read {key} as {_short(values)}")
    for number, read, values in book.reads():
        name = f"T{number + 1} read {read.key} as {_short(values)}"
        if read.key in book.forked:
            yield from _wrong_values(book, read.key, values, name)
        yield from _intermediate(book, number, read.key, values)
    for number, transaction in enumerate(book.transactions):
        if transaction.end is End.OK:
            yield from _internal(number, transaction)
    for key, (one, other) in book.forked.items():
        yield Broken.FORKED, f"forked: {key} was read as {_short(one)} and as {_short(other)}; neither begins the other."
    if final is not None:
        yield from _lost(book)


def _wrong_values(book: _Book, key: str, values: tuple[int, ...], name: str) -> Iterator[tuple[Anomaly | Broken, str]]:
    for value, times in Counter(values).items():
        if times > 1:
            yield Broken.DUPLICATE, f"duplicate: {name}, with {value} {times} times."
        writer = book.writer.get((key, value))
        if writer is None:
            yield Broken.GARBAGE, f"garbage: {name}, and nobody appended {value}."
        elif book.transactions[writer].end is End.FAIL:
            yield Anomaly.G1A, f"G1a: {name}, and T{writer + 1}, which appended {value}, aborted."


def _intermediate(book: _Book, reader: int, key: str, values: tuple[int, ...]) -> Iterator[tuple[Anomaly, str]]:
    for value in book.foreign(reader, key, values)[-1:]:
        writer = book.writer.get((key, value))
        if writer is not None and book.last_append[writer, key] != value:
            what = f"T{reader + 1} read {key} as {_short(values)}"
            yield Anomaly.G1B, f"G1b: {what}, and {value} is not the last that T{writer + 1} appended to it."


def _internal(number: int, transaction: Transaction) -> Iterator[tuple[Anomaly | Broken, str]]:
    seen: dict[str, tuple[int, ...]] = {}
    added: dict[str, frozenset[int]] = {}
    for action in transaction.actions:
        if isinstance(action, Append):
            added[action.key] = added.get(action.key, frozenset()) | {action.value}
            continue
        if action.values is None:
            continue
        # More than its own appends behind what it read before is another's doing, and shows as a cycle.
        if not added.get(action.key, frozenset()) <= frozenset(action.values):
            yield Broken.INTERNAL, f"internal: T{number + 1} read {action.key} as {_short(action.values)} without its own append."
        before = seen.get(action.key)
        if before is not None and action.values[: len(before)] != before:
            yield Broken.INTERNAL, f"internal: T{number + 1} read {action.key} as {_short(before)}, then {_short(action.values)}."
        seen[action.key] = action.values


def _lost(book: _Book) -> Iterator[tuple[Anomaly | Broken, str]]:
    kept = {key: frozenset(values) for key, values in book.final.items()}
    for (key, value), writer in book.writer.items():
        if book.transactions[writer].end is End.OK and value not in kept.get(key, frozenset()):
            yield Broken.LOST, f"lost-append: T{writer + 1} committed {value} to {key}, and the final list lacks it."


def _edges(book: _Book) -> Iterator[Edge]:
    for key, values in book.longest.items():
        if key in book.forked:
            continue
        for one, other in pairwise(values):
            before, after = book.writer_of(key, one), book.writer_of(key, other)
            if before is not None and after is not None:
                yield Edge(before + 1, after + 1, Dependency.WW, f"appended {other} to {key} after {one}")
    for reader, read, values in book.reads():
        if read.key in book.forked:
            continue
        version = book.foreign(reader, read.key, values)
        if version:
            writer = book.writer_of(read.key, version[-1])
            if writer is not None:
                yield Edge(writer + 1, reader + 1, Dependency.WR, f"read {read.key} with its {version[-1]}")
        following = book.longest[read.key][len(version) : len(version) + 1]
        for value in following:
            writer = book.writer_of(read.key, value)
            if writer is not None:
                yield Edge(reader + 1, writer + 1, Dependency.RW, f"appended {value} to {read.key}, which it had read without")


def _short(values: tuple[int, ...]) -> str:
    """The end of a long list is what differs."""
    words = ", ".join(str(value) for value in values[-6:])
    return f"[... {words}]" if len(values) > 6 else f"[{words}]"
