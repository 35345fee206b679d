"""The store: runs that grow trial by trial and then never change, and an append-only log of events, in one SQLite file.

    with Store.open(database()) as store:
        store.open_run(header, owner=this_process.encode())
        store.append_trial(run, trial)          # between trials, outside every sample
        store.close_run(document)

No method shows SQL to its caller, so that a team's PostgreSQL can stand behind the same ones.
A store belongs to the process that opened it: workers forked later must not touch it.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from mastery.errors import StoreError, UnknownName, UsageError
from mastery.lab.document import RunDocument, TrialRecord, canonical, plain
from mastery.lab.histogram import Histogram
from mastery.lab.integrity import is_intact
from mastery.store.failures import damaged, explained
from mastery.store.records import Imported, LoggedEvent, OpenRun, Origin, ReceivedRun, RunRow, Standing
from mastery.store.rows import COLUMNS, fingerprint_of, insert_closed, row_of, standing_of
from mastery.store.schema import BUSY_TIMEOUT_S, connect_to_read, connect_to_write
from mastery.store.staging import Staging

_NEWEST_FIRST = "ORDER BY started DESC, rowid DESC"
LATEST = "latest"


class Store:
    """Runs and events of one home."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._process = os.getpid()

    @classmethod
    def open(cls, path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """The store at `path`, made where it is missing; raises `StoreError`."""
        return cls(connect_to_write(path, timeout_s=timeout_s), path)

    @classmethod
    def open_to_read(cls, path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """The existing store at `path`, also where its folder is read-only; raises `StoreError`."""
        return cls(connect_to_read(path, timeout_s=timeout_s), path)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Runs while they are measured

    def open_run(self, header: Mapping[str, Any], *, owner: str) -> None:
        """Notes that a run begins. `header` is JSON with everything known so far, at least `id`, `experiment`, `article`,
        `mode` and `started`; `owner` names the measuring process so that a later one can tell whether it still lives."""
        named = [str(header[key]) for key in ("id", "experiment", "article", "mode", "started")]
        body = msgspec.json.encode(plain(dict(header)))
        with self._writing(durable=True) as connection:
            connection.execute(
                "INSERT INTO runs (id, experiment, article, mode, started, standing, origin, machine, owner, header) "
                "VALUES (?, ?, ?, ?, ?, 'open', 'own', ?, ?, ?)",
                [*named, fingerprint_of(header.get("machine")), owner, body],
            )
        with explained(self.path):
            # A checkpoint flushes the log to the disk that may be under measurement: it waits until the run closes.
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def append_trial(self, run: str, trial: TrialRecord, histogram: Histogram | None = None) -> None:
        """Keeps one finished trial with its latencies: they survive the death of every process of the run.

        The commit does not flush the disk (that would disturb the measuring of disks), so a power cut may take the
        last trials. Raises `StoreError` when nothing can be written, `ValueError` for a figure that is not finite.
        """
        record = msgspec.json.encode(plain(msgspec.to_builtins(trial)))
        latencies = None if histogram is None else msgspec.json.encode(histogram.to_sparse())
        with self._writing() as connection:
            added = connection.execute(
                "INSERT INTO trials (run, sequence, record, histogram) "
                "SELECT id, (SELECT coalesce(max(sequence) + 1, 0) FROM trials WHERE run = runs.id), ?, ? "
                "FROM runs WHERE id = ? AND standing = 'open'",
                (record, latencies, run),
            ).rowcount
        if added != 1:
            raise StoreError(
                f"Run {run!r} is not open: it takes no more trials.", remedy="Start the run anew: mastery run EXPERIMENT"
            )

    def close_run(self, document: RunDocument) -> bool:
        """Keeps the sealed document for good and flushes it to the disk; False when another process closed the run before.

        A run that was never opened here (the store could not be written at that moment) is taken whole.
        """
        values = (
            document.finished,
            standing_of(document).value,
            document.hash,
            fingerprint_of(document.machine),
            canonical(document),
        )
        with self._writing(durable=True) as connection:
            changed = connection.execute(
                "UPDATE runs SET finished = ?, standing = ?, hash = ?, machine = ?, document = ? "
                "WHERE id = ? AND standing = 'open'",
                (*values, document.id),
            ).rowcount
            if changed:
                # The document holds the trials now; the rows stay only if it should hold fewer, so that none is lost.
                connection.execute(
                    "DELETE FROM trials WHERE run = ? AND (SELECT count(*) FROM trials WHERE run = ?) <= ?",
                    (document.id, document.id, len(document.trials)),
                )
            else:
                changed = insert_closed(connection, document, Origin.OWN)
        with explained(self.path):
            self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return changed == 1

    def open_runs(self) -> list[OpenRun]:
        """Runs that nobody closed: alive, or killed and waiting for the janitor, who looks at their owner."""
        with self._reading() as connection:
            found = connection.execute("SELECT id, owner, header FROM runs WHERE standing = 'open' ORDER BY rowid").fetchall()
            return [OpenRun(id, owner, msgspec.json.decode(header), *_trials(connection, id)) for id, owner, header in found]

    # Closed runs

    def runs(
        self,
        *,
        experiment: str | None = None,
        origin: Origin | None = None,
        standing: Standing | None = None,
        machine: str | None = None,
        limit: int | None = None,
    ) -> list[RunRow]:
        """Light rows, the newest first; every filter that is given must match."""
        wanted = {"experiment": experiment, "origin": origin, "standing": standing, "machine": machine}
        given = {column: str(value) for column, value in wanted.items() if value is not None}
        # The columns come from the line above, never from outside.
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        query = f"SELECT {COLUMNS} FROM runs WHERE {where} {_NEWEST_FIRST} LIMIT ?"  # noqa: S608
        with self._reading() as connection:
            rows = connection.execute(query, [*given.values(), -1 if limit is None else limit]).fetchall()
        return [row_of(values) for values in rows]

    def run(self, name: str = LATEST) -> RunDocument:
        """The document of the run called `name`: see `find`."""
        row = self.find(name)
        text = self.document(row.id)
        with explained(self.path):
            document = msgspec.json.decode(text, type=RunDocument)
        if not is_intact(text, document.hash) or document.hash != row.hash:
            raise damaged(self.path, f"run {row.id!r} does not match its hash")
        return document

    def document(self, name: str = LATEST) -> bytes:
        """The canonical bytes of a closed run, exactly as they were hashed."""
        row = self.find(name)
        with self._reading() as connection:
            (text,) = connection.execute("SELECT document FROM runs WHERE id = ?", (row.id,)).fetchone()
        return bytes(text)

    def find(self, name: str = LATEST) -> RunRow:
        """The closed run with this id; for `latest` or an experiment's id the newest own one; else by a unique beginning of an id.

        Raises `UnknownName`, or `UsageError` when the beginning fits several or the run is still being measured.
        """
        found = self._by_id(name) or self._newest_own(name) or self._by_beginning(name)
        if found is None:
            raise UnknownName(
                "run", name, self._names(), remedy="`mastery results` lists the runs; `mastery run EXPERIMENT` makes one."
            )
        if found.standing is Standing.OPEN:
            raise UsageError(f"Run {found.id!r} is not closed yet.", remedy="Wait until it ends, or stop it with Ctrl-C.")
        return found

    def _by_id(self, id: str) -> RunRow | None:
        with self._reading() as connection:
            values = connection.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (id,)).fetchone()  # noqa: S608
        return row_of(values) if values else None

    def _newest_own(self, name: str) -> RunRow | None:
        of_this = self.runs(experiment=None if name == LATEST else name)
        for row in of_this:
            if row.origin is Origin.OWN and row.standing is not Standing.OPEN:
                return row
        if of_this and of_this[0].origin is Origin.IMPORTED:
            # Ids begin with the experiment: without this a stranger's run would be found by its beginning.
            raise UnknownName("own run of", name, [], remedy=f"There is an imported one: name it, {of_this[0].id}.")
        return None

    def _by_beginning(self, name: str) -> RunRow | None:
        with self._reading() as connection:
            query = f"SELECT {COLUMNS} FROM runs WHERE length(?) >= 3 AND substr(id, 1, length(?)) = ? {_NEWEST_FIRST} LIMIT 6"  # noqa: S608
            found = [row_of(values) for values in connection.execute(query, (name,) * 3)]
        if len(found) > 1:
            ids = ", ".join(row.id for row in found)
            raise UsageError(f"{name!r} is the beginning of several runs: {ids}.", remedy="Give more of the id.")
        return found[0] if found else None

    def _names(self) -> list[str]:
        rows = self.runs(limit=1000)
        return [*(row.id for row in rows), *sorted({row.experiment for row in rows})]

    # Events

    def add_event(self, event: LoggedEvent) -> bool:
        """Appends to the log and flushes it; False when an event with this id is already there (adding is idempotent)."""
        body = msgspec.json.encode(plain(event.body), order="sorted")
        with self._writing(durable=True) as connection:
            added = connection.execute(
                "INSERT INTO events (id, at, actor, kind, origin, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (event.id, event.at, event.actor, event.kind, event.origin.value, body),
            ).rowcount
        return added == 1

    def events(self, *, kind: str | None = None, actor: str | None = None) -> list[LoggedEvent]:
        """The log in order of time; without an `actor` those of everybody, each with its actor."""
        given = {column: value for column, value in (("kind", kind), ("actor", actor)) if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        query = f"SELECT id, at, actor, kind, body, origin FROM events WHERE {where} ORDER BY at, position"  # noqa: S608
        with self._reading() as connection:
            rows = connection.execute(query, list(given.values())).fetchall()
        return [
            LoggedEvent(id, at, actor, kind, msgspec.json.decode(body), Origin(origin))
            for id, at, actor, kind, body, origin in rows
        ]

    def take_in(self, received: Iterable[tuple[int, ReceivedRun | LoggedEvent]]) -> Imported:
        """Adds what came from a file, each with its line number: all of it or, after `HostileImport`, nothing."""
        assert os.getpid() == self._process, "a store must not be used in a forked process"
        with explained(self.path), Staging(self._connection) as staging:
            for line, value in received:
                staging.add(line, value)
            with self._writing(durable=True):
                return staging.merge()

    # Health

    def problems(self) -> list[str]:
        """What SQLite's own check of the whole file finds; empty for a sound store."""
        try:
            found = [str(line) for (line,) in self._connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            # The check itself gives up where the damage leaves it nothing to follow.
            found = [str(error)]
        return [] if found == ["ok"] else found

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; `durable` ones are on the disk, not only with the kernel, when the block ends."""
        assert os.getpid() == self._process, "a store must not be used in a forked process"
        connection = self._connection
        with explained(self.path):
            # Between transactions only: SQLite ignores the change inside of one.
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        assert os.getpid() == self._process, "a store must not be used in a forked process"
        connection = self._connection
        with explained(self.path):
            # One snapshot for all queries of the block: a run may be closed by its owner between two of them.
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")


def _trials(connection: sqlite3.Connection, run: str) -> tuple[tuple[TrialRecord, ...], tuple[Histogram | None, ...]]:
    """The trials of an open run, in order, and beside each its latencies."""
    rows = connection.execute("SELECT record, histogram FROM trials WHERE run = ? ORDER BY sequence", (run,)).fetchall()
    records = tuple(msgspec.json.decode(record, type=TrialRecord) for record, _ in rows)
    return records, tuple(None if sparse is None else Histogram.from_sparse(msgspec.json.decode(sparse)) for _, sparse in rows)
