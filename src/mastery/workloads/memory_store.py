"""A multi-session store in memory that keeps as much isolation as it is told to: the known answers of the checkers.

NONE changes rows in place the moment a statement arrives, and takes an aborted transaction's writes back by removing them.
SERIAL lets one transaction run at a time; the others' statements wait. SNAPSHOT reads from the transaction's start and
lets the first updater win, as PostgreSQL's repeatable read does, so that write skew is the one thing left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mastery.lab.history.transcript import Cause, Failed, Reply, Rows
from mastery.lab.statements import Abort, Commit, Increment, Insert, Read, ReadWhere, Row, Statement, Write, WriteId


class Isolation(StrEnum):
    """How much the store promises."""

    NONE = "none"
    SERIAL = "serial"
    SNAPSHOT = "snapshot"


@dataclass(slots=True)
class MemorySession:
    """One client; its statement either has a reply or waits for the transaction that holds what it needs."""

    number: int
    store: "MemoryStore"
    waiting: tuple[Statement, WriteId] | None = None
    answer: Reply | None = None
    began: bool = False
    snapshot: dict[str, Row] = field(default_factory=dict)
    written: dict[str, WriteId] = field(default_factory=dict)

    def submit(self, statement: Statement, *, write: WriteId, begin: bool) -> None:
        assert self.waiting is None, "one statement at a time"
        if begin:
            self.began = True
            self.written = {}
            # As in PostgreSQL the snapshot is older than the wait: a statement that waited may find its row changed.
            self.snapshot = dict(self.store.table)
        self.waiting, self.answer = (statement, write), None

    def reply(self) -> Reply | None:
        if self.waiting is not None and self.store.in_deadlock(self):
            self.waiting, self.answer = None, Failed(Cause.DEADLOCK, "waits for a session that waits for it")
            self.store.end(self, commit=False)
        if self.waiting is not None and not self.blocked_by():
            statement, write = self.waiting
            self.waiting, self.answer = None, self.store.perform(self, statement, write)
        return self.answer

    def blocked_by(self) -> frozenset[int]:
        return self.store.blockers(self) if self.waiting is not None else frozenset()

    def rollback(self) -> None:
        self.waiting = None
        if self.began:
            self.store.end(self, commit=False)


class MemoryStore:
    """The rows, and who holds what; a stage for `explore_order`."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self.table: dict[str, Row] = {}
        self.before: dict[str, Row] = {}
        self.values: dict[WriteId, int] = {}
        self.sessions: list[MemorySession] = []
        self.holder: int | None = None
        self.row_holders: dict[str, int] = {}

    def set(self, rows: Sequence[Row], sessions: int) -> list[MemorySession]:
        self.table = {row.key: row for row in rows}
        self.before, self.values = dict(self.table), {}
        self.holder, self.row_holders = None, {}
        self.sessions = [MemorySession(number, self) for number in range(sessions)]
        return self.sessions

    def rows(self) -> tuple[Row, ...]:
        return tuple(self.table[key] for key in sorted(self.table))

    def blockers(self, session: MemorySession) -> frozenset[int]:
        """Whom the session's statement waits for."""
        assert session.waiting is not None
        holder = self.holder
        if self.isolation is Isolation.SNAPSHOT:
            statement = session.waiting[0]
            holder = self.row_holders.get(statement.key) if isinstance(statement, Write | Increment | Insert) else None
        return frozenset() if holder is None or holder == session.number else frozenset({holder})

    def in_deadlock(self, session: MemorySession) -> bool:
        """Whether the session waits, through others that wait, for itself."""
        reached: set[int] = set()
        ahead = [session.number]
        while ahead:
            waiter = self.sessions[ahead.pop()]
            blockers = waiter.blocked_by()
            ahead += blockers - reached
            reached |= blockers
        return session.number in reached

    def perform(self, session: MemorySession, statement: Statement, write: WriteId) -> Reply:
        """Runs one statement that nothing blocks."""
        if self.isolation is Isolation.SERIAL:
            self.holder = session.number
        visible = self.table if self.isolation is not Isolation.SNAPSHOT else session.snapshot
        match statement:
            case Read(key):
                return Rows((visible[key],) if key in visible else ())
            case ReadWhere(where):
                return Rows(tuple(visible[key] for key in sorted(visible) if where.matches(visible[key].value)))
            case Commit() | Abort():
                self.end(session, commit=isinstance(statement, Commit))
                return Rows()
            case _:
                return self._change(session, visible, statement, write)

    def _change(
        self, session: MemorySession, visible: dict[str, Row], statement: Write | Increment | Insert, write: WriteId
    ) -> Reply:
        key = statement.key
        old = visible.get(key)
        if self.isolation is Isolation.SNAPSHOT and key not in session.written and self.table.get(key) != old:
            self.end(session, commit=False)
            return Failed(Cause.SERIALIZATION, f"{key} has changed since the transaction began")
        match statement:
            case Insert(_, value):
                new = Row(key, value, (write,))
            case _ if old is None:
                return Rows()
            case Write(_, value):
                new = Row(key, value, (*old.trace, write))
            case Increment(_, by):
                new = Row(key, old.value + by, (*old.trace, write))
        visible[key] = new
        self.values[write] = new.value
        session.written[key] = write
        if self.isolation is Isolation.SNAPSHOT:
            self.row_holders[key] = session.number
        return Rows((new,))

    def end(self, session: MemorySession, *, commit: bool) -> None:
        """Ends a transaction; the snapshot's writes become visible at once, or never."""
        if self.isolation is Isolation.SNAPSHOT:
            self.row_holders = {key: holder for key, holder in self.row_holders.items() if holder != session.number}
            if commit:
                self.table |= {key: session.snapshot[key] for key in session.written}
        elif not commit:
            self._take_back(session)
        if self.holder == session.number:
            self.holder = None
        session.began = False

    def _take_back(self, session: MemorySession) -> None:
        """Undoes in place: the writes leave the trace, and the row gets the value of the last write that stays."""
        for key in session.written:
            trace = tuple(write for write in self.table[key].trace if write.session != session.number)
            if trace:
                self.table[key] = Row(key, self.values[trace[-1]], trace)
            elif key in self.before:
                self.table[key] = self.before[key]
            else:
                del self.table[key]
