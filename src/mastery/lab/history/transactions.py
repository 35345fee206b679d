"""Judges one order of one case: which anomalies the sessions' own replies prove, by the versions that they name.

Every row carries the trace of the writes that made it, so each reply tells which version was read and which came before.
From these follow the order of versions of each row, the edges of Adya's graph (cycles in it are G0, G1c, G-single,
G2-item and G2), and the four anomalies that are no bare cycle: G1a, G1b, OTV and PMP, and P4 as its own shape.
Only what committed transactions saw counts. Where the replies leave room, an edge is drawn only if it holds in every reading.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations, pairwise

from mastery.lab.anomalies import Anomaly
from mastery.lab.history.dependency import Dependency, Edge, find_cycles
from mastery.lab.history.transcript import Ended, Rows, Seen, Transcript
from mastery.lab.statements import Between, Changing, Increment, Read, ReadWhere, Row, WriteId


class Judgement(StrEnum):
    """`unknown`: the replies do not tell; never to be counted as clean."""

    CLEAN = "clean"
    ANOMALOUS = "anomalous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one history exhibits, each anomaly with the sentence that proves it."""

    judgement: Judgement
    anomalies: frozenset[Anomaly] = frozenset()
    why: tuple[str, ...] = ()

    def proof_of(self, anomaly: Anomaly) -> str:
        """The sentence that proves this anomaly, or nothing when it was not exhibited."""
        return next((sentence for sentence in self.why if sentence.startswith(f"{anomaly}:")), "")


def find_anomalies(transcript: Transcript) -> Finding:
    """The judgement of one history; it looks at nothing but the transcript, and never at which case it came from."""
    versions = _Versions.of(transcript)
    if isinstance(versions, str):
        return Finding(Judgement.UNKNOWN, why=(versions,))
    proofs: dict[Anomaly, str] = {}
    predicates = _PredicateEdges(versions)
    in_order = sorted(predicates.sure, key=lambda edge: (edge.source, edge.target, edge.kind, edge.why))
    cycles, _ = find_cycles([*_row_edges(versions), *in_order])
    for anomaly, sentence in (*_proofs(versions), *((cycle.anomaly, str(cycle)) for cycle in cycles)):
        proofs.setdefault(anomaly, sentence)
    if not proofs and predicates.doubtful:
        return Finding(Judgement.UNKNOWN, why=(predicates.doubtful,))
    ordered = tuple(anomaly for anomaly in Anomaly if anomaly in proofs)
    judgement = Judgement.ANOMALOUS if ordered else Judgement.CLEAN
    return Finding(judgement, frozenset(ordered), tuple(proofs[anomaly] for anomaly in ordered))


def _proofs(versions: "_Versions") -> Iterator[tuple[Anomaly, str]]:
    yield from _dirty_reads(versions)
    yield from _dirty_misses(versions)
    yield from _vanished(versions)
    yield from _moving_predicates(versions)
    yield from _lost_updates(versions)


@dataclass(frozen=True, slots=True)
class _ItemRead:
    """A committed transaction saw a version of a row that it had not written itself; `write` None is the first version."""

    reader: int
    step: int
    key: str
    write: WriteId | None


@dataclass(frozen=True, slots=True)
class _PredicateRead:
    """The rows that a committed transaction's predicate matched, and its own last write before of each key it had changed."""

    reader: int
    step: int
    where: Between
    rows: tuple[Row, ...]
    own: Mapping[str, WriteId]


@dataclass(slots=True)
class _Versions:
    """The history by versions. `chains` holds the committed writes of each row, oldest first; place 0 is before them."""

    committed: frozenset[int]
    born: dict[str, int]
    values: dict[WriteId, int] = field(default_factory=dict)
    chains: dict[str, tuple[WriteId, ...]] = field(default_factory=dict)
    last_writes: set[WriteId] = field(default_factory=set)
    reads: list[_ItemRead] = field(default_factory=list)
    predicates: list[_PredicateRead] = field(default_factory=list)

    @classmethod
    def of(cls, transcript: Transcript) -> "_Versions | str":
        """The versions, or the sentence that says why they cannot be told."""
        ends = {session: transcript.ended(session) for session in range(len(transcript.case.sessions))}
        for session, end in ends.items():
            if end is Ended.UNKNOWN:
                return f"Whether T{session + 1} committed is unknown: the answer to its commit never came."
        if transcript.final is None:
            return "The rows after the order could not be read, so the order of versions is unknown."
        versions = cls(frozenset(s for s, end in ends.items() if end is Ended.COMMITTED), {})
        versions.born = {row.key: row.value for row in transcript.case.rows}
        problem = versions._chain(transcript)
        if problem:
            return problem
        for seen in transcript.seen:
            if seen.session in versions.committed:
                versions._observe(seen, transcript)
        return versions

    def _chain(self, transcript: Transcript) -> str:
        assert transcript.final is not None
        last: dict[tuple[int, str], WriteId] = {}
        rows = list(transcript.final)
        for seen in transcript.seen:
            if not isinstance(seen.reply, Rows):
                continue
            rows += seen.reply.rows
            if isinstance(seen.statement, Changing):
                for row in seen.reply.rows:
                    self.values[seen.write] = row.value
                    last[seen.session, row.key] = seen.write
        self.last_writes = set(last.values())
        for row in rows:
            trace = tuple(write for write in row.trace if write.session in self.committed)
            known = self.chains.get(row.key, ())
            longer, shorter = (trace, known) if len(trace) > len(known) else (known, trace)
            if longer[: len(shorter)] != shorter:
                return f"Two versions of {row.key} name different pasts, so the order of its versions is unknown."
            self.chains[row.key] = longer
        kept = {write for row in transcript.final for write in row.trace}
        for (session, key), write in last.items():
            if session in self.committed and write not in kept:
                return f"The last write of {key} by {_name(session)} committed and is in no row: the order of versions is unknown."
        return ""

    def _observe(self, seen: Seen, transcript: Transcript) -> None:
        if not isinstance(seen.reply, Rows):
            return
        match seen.statement:
            case Read(key):
                found = seen.reply.rows[0].trace if seen.reply.rows else ()
                self._saw(seen, key, found)
            case ReadWhere(where):
                own = dict(self._own_writes(transcript, seen))
                self.predicates.append(_PredicateRead(seen.session, seen.step, where, seen.reply.rows, own))
                for row in seen.reply.rows:
                    self._saw(seen, row.key, row.trace)
            case Increment(key) if seen.reply.rows:
                self._saw(seen, key, seen.reply.rows[0].trace[:-1])
            case _:
                pass

    def _saw(self, seen: Seen, key: str, trace: tuple[WriteId, ...]) -> None:
        write = trace[-1] if trace else None
        if write is None or write.session != seen.session:
            self.reads.append(_ItemRead(seen.session, seen.step, key, write))

    @staticmethod
    def _own_writes(transcript: Transcript, until: Seen) -> Iterator[tuple[str, WriteId]]:
        """The keys that the session had changed before this statement, by its writes in order."""
        for seen in transcript.seen:
            before = seen.session == until.session and seen.step < until.step
            if before and isinstance(seen.statement, Changing) and isinstance(seen.reply, Rows) and seen.reply.rows:
                yield seen.statement.key, seen.write

    def place(self, key: str, write: WriteId | None) -> int | None:
        """Where a version stands in its chain, 0 for the first; None for a version that no committed transaction left."""
        if write is None:
            return 0
        chain = self.chains.get(key, ())
        return chain.index(write) + 1 if write in chain else None

    def installed(self, key: str) -> list[tuple[int, int]]:
        """(place, transaction) of the versions that count: a transaction's writes in a row leave only their last.

        One that wrote again after somebody else stands twice: T1, T2, T1 is a circle of overwrites.
        """
        writers = [write.session for write in self.chains.get(key, ())]
        followed_by = [*writers[1:], None]
        return [(n, by) for n, (by, after) in enumerate(zip(writers, followed_by, strict=False), start=1) if by != after]

    def value_at(self, key: str, place: int) -> int | None:
        """The value of the version at a place; None before the row was born."""
        return self.born.get(key) if place == 0 else self.values[self.chains[key][place - 1]]

    def matches(self, read: _PredicateRead, key: str, place: int) -> bool:
        """Whether the version at a place lies in the predicate."""
        value = self.value_at(key, place)
        return value is not None and read.where.matches(value)

    def missed(self, read: _PredicateRead) -> list[str]:
        """The rows that a predicate read did not return, except where the reader's own version explains it."""
        own = {key for key, write in read.own.items() if not read.where.matches(self.values[write])}
        return sorted(self.chains.keys() - {row.key for row in read.rows} - own)

    def passed_over(self, read: _PredicateRead, key: str) -> list[int]:
        """The places at which a missed row may have been read: without a match, and between the reader's own writes."""
        oldest = self.place(key, read.own.get(key)) or 0
        chain = self.chains[key]
        newest = next((place for place, write in enumerate(chain) if self._follows(write, read)), len(chain))
        return [place for place in range(oldest, newest + 1) if not self.matches(read, key, place)]

    @staticmethod
    def _follows(write: WriteId, read: _PredicateRead) -> bool:
        """Whether the reader wrote this itself, after its read: what builds on it cannot have been read before."""
        return write.session == read.reader and write.step > read.step


def _name(session: int) -> str:
    return f"T{session + 1}"


def _dirty_reads(versions: _Versions) -> Iterator[tuple[Anomaly, str]]:
    for read in versions.reads:
        if read.write is None:
            continue
        writer = read.write.session
        if writer not in versions.committed:
            yield Anomaly.G1A, f"G1a: {_name(read.reader)} read {read.key} as {_name(writer)} wrote it, which aborted."
        elif read.write not in versions.last_writes:
            yield Anomaly.G1B, f"G1b: {_name(read.reader)} read a version of {read.key} that {_name(writer)} replaced itself."


def _dirty_misses(versions: _Versions) -> Iterator[tuple[Anomaly, str]]:
    """A predicate that misses a row by a version that was never to be seen has read that version as well."""
    for read in versions.predicates:
        for key in versions.missed(read):
            missing = versions.passed_over(read, key)
            what = f"{_name(read.reader)} missed {key} in {read.where.low}..{read.where.high}"
            if not missing:
                yield Anomaly.G1A, f"G1a: {what}, where every version that it could have seen lies."
            elif not {0, *(place for place, _ in versions.installed(key))} & set(missing):
                yield Anomaly.G1B, f"G1b: {what}, where it lies but for a version that its writer replaced itself."


def _vanished(versions: _Versions) -> Iterator[tuple[Anomaly, str]]:
    for first in versions.reads:
        if first.write is None or first.write.session not in versions.committed:
            continue
        writer = first.write.session
        for later in versions.reads:
            if later.reader != first.reader or later.step <= first.step:
                continue
            read_at = versions.place(later.key, later.write)
            if read_at is None:
                continue
            if any(by == writer and read_at < place for place, by in versions.installed(later.key)):
                yield (
                    Anomaly.OTV,
                    f"OTV: {_name(first.reader)} saw {_name(writer)}'s {first.key}, and afterwards {later.key} from before it.",
                )


def _moving_predicates(versions: _Versions) -> Iterator[tuple[Anomaly, str]]:
    for first, second in combinations(versions.predicates, 2):
        overlap = first.where.overlap(second.where)
        if first.reader != second.reader or overlap is None:
            continue
        moved = _matched(versions, first, overlap) ^ _matched(versions, second, overlap)
        for key in sorted(moved - first.own.keys() - second.own.keys()):
            yield (
                Anomaly.PMP,
                f"PMP: {key} was in {overlap.low}..{overlap.high} for one of {_name(first.reader)}'s reads and not for the other.",
            )


def _matched(versions: _Versions, read: _PredicateRead, overlap: Between) -> frozenset[str]:
    """Keys in the overlap; the versions of aborted transactions are no preceders (to read them is G1a)."""
    return frozenset(
        row.key
        for row in read.rows
        if overlap.matches(row.value) and versions.place(row.key, row.trace[-1] if row.trace else None) is not None
    )


def _lost_updates(versions: _Versions) -> Iterator[tuple[Anomaly, str]]:
    for read in versions.reads:
        read_at = versions.place(read.key, read.write)
        if read_at is None:
            continue
        installed = versions.installed(read.key)
        own = max((place for place, by in installed if by == read.reader), default=None)
        # The read must have come before the write that it could have informed.
        if own is None or versions.chains[read.key][own - 1].step < read.step:
            continue
        for place, by in installed:
            if read_at < place < own and by != read.reader:
                yield (
                    Anomaly.P4,
                    f"P4: {_name(read.reader)} read {read.key}, {_name(by)} wrote it, and {_name(read.reader)} wrote over that.",
                )


def _row_edges(versions: _Versions) -> Iterator[Edge]:
    for key in versions.chains:
        installed = versions.installed(key)
        for (_, before), (_, after) in pairwise(installed):
            yield Edge(before + 1, after + 1, Dependency.WW, f"{_name(after)} overwrote {key}")
    for read in versions.reads:
        read_at = versions.place(read.key, read.write)
        if read_at is None:
            continue
        if read.write is not None:
            why = f"{_name(read.reader)} read its {read.key}"
            yield Edge(read.write.session + 1, read.reader + 1, Dependency.WR, why)
        following = next((by for place, by in versions.installed(read.key) if place > read_at), None)
        if following is not None:
            why = f"{_name(following)} overwrote the {read.key} that it read"
            yield Edge(read.reader + 1, following + 1, Dependency.RW, why)


class _PredicateEdges:
    """The edges by predicate: sure ones, and why a clean judgement would be a guess if there is doubt about others.

    A row that was not returned may have been read at any installed version that does not match.
    """

    def __init__(self, versions: _Versions) -> None:
        self.sure: set[Edge] = set()
        self.doubtful = ""
        for read in versions.predicates:
            for row in read.rows:
                place = versions.place(row.key, row.trace[-1] if row.trace else None)
                if place is not None:
                    self.sure |= set(_edges_of_reading(versions, read, row.key, place))
            for key in versions.missed(read):
                places = {0, *(place for place, _ in versions.installed(key))} & set(versions.passed_over(read, key))
                readings = [set(_edges_of_reading(versions, read, key, place)) for place in sorted(places)]
                if not readings:
                    continue
                common = set.intersection(*readings)
                self.sure |= common
                if any(each != common for each in readings):
                    self.doubtful = f"Which version of {key} {_name(read.reader)}'s predicate passed over cannot be told."


def _edges_of_reading(versions: _Versions, read: _PredicateRead, key: str, place: int) -> Iterator[Edge]:
    """Adya's two: the last change of the match up to the version read, and the first change after it."""
    places = [0, *(at for at, _ in versions.installed(key))]
    writers = dict(versions.installed(key))
    span = f"{read.where.low}..{read.where.high}"
    changes = [
        after for before, after in pairwise(places) if versions.matches(read, key, before) != versions.matches(read, key, after)
    ]
    before = [at for at in changes if at <= place]
    after = [at for at in changes if at > place]
    if before:
        why = f"{_name(read.reader)} saw {span} with its change of {key}"
        yield Edge(writers[before[-1]] + 1, read.reader + 1, Dependency.PREDICATE_WR, why)
    if after:
        why = f"{_name(writers[after[0]])} changed by {key} which rows are in the {span} that it read"
        yield Edge(read.reader + 1, writers[after[0]] + 1, Dependency.PREDICATE_RW, why)
