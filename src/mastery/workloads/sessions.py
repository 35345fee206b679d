"""Real sessions on a PostgreSQL server for the lab's `explore_order`: one connection each, and one that watches.

The watching connection asks the server who blocks whom (`pg_blocking_pids`), makes the rows and reads them afterwards.
Statements go out without waiting (libpq's asynchronous calls), so one thread drives all sessions.
"""

import select
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mastery.errors import DomainError, NeedsExtra
from mastery.lab.history.transcript import Cause, Failed, Reply, Rows
from mastery.lab.statements import Commit, Row, Statement, WriteId, trace_from_text
from mastery.workloads.statement_sql import COLUMNS, create_table, refill, to_sql

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn, PGresult

# How long a reply is awaited before the server is asked whether the session is blocked. Too short costs questions,
# too long costs time; neither changes an outcome.
_PATIENCE_MS = 1

# libpq's own numbers; psycopg is imported late, so its enumerations are not at hand here.
_CONNECTION_OK = 0
_IDLE = 0

_SETTINGS = (
    # No order cuts the power, and a flush for each commit would be most of the time.
    "set synchronous_commit = off",
    # A statement that the runner has lost sight of ends by itself.
    "set statement_timeout = '20s'",
)


class Level(StrEnum):
    """The levels of PostgreSQL that differ."""

    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


@dataclass(slots=True)
class _Line:
    """One connection with its process id at the server."""

    connection: "Connection[tuple[object, ...]]"
    pid: int

    @property
    def pgconn(self) -> "PGconn":
        return self.connection.pgconn

    @property
    def alive(self) -> bool:
        return self.pgconn.status == _CONNECTION_OK


class PostgresSession:
    """One client of the case; see mastery.lab.explore.Session."""

    def __init__(self, stage: "PostgresStage", line: _Line) -> None:
        self.stage = stage
        self.line = line
        self._sent: Statement | None = None
        self._results: list[PGresult] = []

    def submit(self, statement: Statement, *, write: WriteId, begin: bool) -> None:
        assert self._sent is None, "one statement at a time"
        text = to_sql(statement, table=self.stage.table, write=write)
        if begin:
            text = f"begin isolation level {self.stage.level}; {text}"
        self._sent, self._results = statement, []
        if self.alive:
            self.line.pgconn.send_query(text.encode())
            self.line.pgconn.flush()

    def reply(self) -> Reply | None:
        if self._sent is None:
            return None
        if not self.alive or not self._collect(_PATIENCE_MS):
            return None if self.alive else self._lost()
        reply = _reply_of(self._results, self._sent)
        self._sent = None
        return reply

    def blocked_by(self) -> frozenset[int]:
        return self.stage.blockers(self) if self._sent is not None else frozenset()

    def rollback(self) -> None:
        if not self.alive:
            self._sent = None
            return
        if self._sent is not None:
            # Cancel, then drain: nothing that the statement still does may reach into the next order.
            self.line.connection.cancel_safe()
            while self.alive and not self._collect(1_000):
                pass
            self._sent = None
        if self.alive and self.line.pgconn.transaction_status != _IDLE:
            self.line.pgconn.exec_(b"rollback")

    @property
    def alive(self) -> bool:
        return self.line.alive

    def _lost(self) -> Reply:
        self._sent = None
        return Failed(Cause.LOST, self.line.pgconn.error_message.decode(errors="replace").strip())

    def _collect(self, patience_ms: int) -> bool:
        """Takes what has come; True once the whole reply is here. `begin; update` answers in two parts."""
        from psycopg import OperationalError

        pgconn = self.line.pgconn
        try:
            while True:
                while not pgconn.is_busy():
                    result = pgconn.get_result()
                    if result is None:
                        return True
                    self._results.append(result)
                poll = select.poll()
                poll.register(pgconn.socket, select.POLLIN)
                if not poll.poll(patience_ms):
                    return False
                pgconn.consume_input()
        except OperationalError:
            return False


class PostgresStage:
    """A server at one isolation level, as a stage for `explore_order`; a context manager that leaves nothing behind.

    `address` is a libpq connection string; the table is made in `schema`, which must exist and is not touched otherwise.
    """

    def __init__(self, address: str, level: Level, *, schema: str = "public") -> None:
        self.level = level
        self.table = f'"{schema}".isolation_case'
        self._address = address
        self._watcher: _Line | None = None
        self._sessions: list[PostgresSession] = []

    def __enter__(self) -> Self:
        self._watcher = self._open()
        try:
            self._ask(f"drop table if exists {self.table}; {create_table(self.table)}")
            self._insist_on_level()
        except DomainError:
            self._clear()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()

    def _clear(self) -> None:
        for session in self._sessions:
            session.rollback()
            session.line.connection.close()
        self._sessions = []
        if self._watcher is not None:
            if self._watcher.alive:
                self._watcher.pgconn.exec_(f"drop table if exists {self.table}".encode())
            self._watcher.connection.close()
        self._watcher = None

    def set(self, rows: Sequence[Row], sessions: int) -> Sequence[PostgresSession]:
        # What was lost on the way is replaced: the next order is not the last one's victim.
        for lost in [session for session in self._sessions if not session.alive]:
            lost.line.connection.close()
            self._sessions.remove(lost)
        if self._watcher is None or not self._watcher.alive:
            if self._watcher is not None:
                self._watcher.connection.close()
            self._watcher = self._open()
        while len(self._sessions) < sessions:
            self._sessions.append(PostgresSession(self, self._open()))
        self._ask(refill(self.table, tuple(rows)))
        return self._sessions[:sessions]

    def rows(self) -> tuple[Row, ...] | None:
        try:
            return _rows_of(self._ask(f"select {COLUMNS} from {self.table} order by key"))  # noqa: S608  # our own table's name
        except DomainError:
            return None

    def blockers(self, session: PostgresSession) -> frozenset[int]:
        """By the server's account: whose locks (or place in a lock's queue) the session waits for."""
        text = self._ask(f"select pg_blocking_pids({session.line.pid:d})").get_value(0, 0) or b"{}"
        numbers = {each.line.pid: number for number, each in enumerate(self._sessions)}
        pids = [int(word) for word in text.decode().strip("{}").split(",") if word]
        return frozenset(numbers[pid] for pid in pids if pid in numbers)

    def _ask(self, text: str) -> "PGresult":
        """The last result of a message of the watching connection; raises DomainError with the server's words."""
        assert self._watcher is not None, "the stage is entered before it is used"
        pgconn = self._watcher.pgconn
        result = pgconn.exec_(text.encode())
        if _sqlstate(result) or not self._watcher.alive:
            words = (result.error_message or pgconn.error_message).decode(errors="replace").strip()
            raise DomainError(f"The server refused {text[:60]!r}: {words}.", remedy="See the server's log; run it again.")
        return result

    def _insist_on_level(self) -> None:
        """Reads the level back inside a transaction: a proxy between us and the server may have other ideas."""
        got = self._ask(f"begin isolation level {self.level}; show transaction_isolation")
        level = (got.get_value(0, 0) or b"").decode()
        self._ask("commit")
        if level != self.level:
            raise DomainError(
                f"The server runs {level!r} where '{self.level}' was asked for.", remedy="Connect to PostgreSQL itself."
            )

    def _open(self) -> _Line:
        try:
            import psycopg
        except ImportError as reason:
            raise NeedsExtra("postgres", why="Sessions on PostgreSQL") from reason
        try:
            connection = psycopg.connect(self._address, autocommit=True)
        except psycopg.OperationalError as reason:
            raise DomainError(
                f"PostgreSQL does not take the connection: {str(reason).strip()}.",
                remedy="Check the address, that the server runs, and that it has free connections.",
            ) from reason
        for setting in _SETTINGS:
            connection.execute(setting.encode())
        # A deadlock is noticed after 1 s by default. Only a superuser may shorten it; on other servers it just takes longer.
        connection.pgconn.exec_(b"set deadlock_timeout = '2ms'")
        return _Line(connection, connection.info.backend_pid)


def _reply_of(results: "list[PGresult]", statement: Statement) -> Reply:
    for result in results:
        state = _sqlstate(result)
        if state:
            return Failed(_cause(state), (result.error_message or b"").decode(errors="replace").strip())
    if isinstance(statement, Commit) and results[-1].command_status != b"COMMIT":
        # The server answers the commit of a failed transaction with ROLLBACK, and no error.
        return Failed(Cause.OTHER, "the server rolled back instead of committing")
    return Rows(_rows_of(results[-1]))


def _cause(state: str) -> Cause:
    if state.startswith("23"):
        return Cause.CONSTRAINT
    # A server that shuts down or crashes says so before it hangs up: whether the statement took effect is unknown.
    if state.startswith(("08", "57P")):
        return Cause.LOST
    return {"40001": Cause.SERIALIZATION, "40P01": Cause.DEADLOCK}.get(state, Cause.OTHER)


def _sqlstate(result: "PGresult") -> str:
    from psycopg.pq import DiagnosticField

    return (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()


def _rows_of(result: "PGresult") -> tuple[Row, ...]:
    def text(row: int, column: int) -> str:
        return (result.get_value(row, column) or b"").decode()

    return tuple(Row(text(n, 0), int(text(n, 1)), trace_from_text(text(n, 2))) for n in range(result.ntuples))
