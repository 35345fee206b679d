"""Holds what an import brought until all of it is judged, outside the store and without locking it.

The tables are temporary: a file of gigabytes needs no memory, and a run being measured can go on appending meanwhile.
"""

import sqlite3
from types import TracebackType
from typing import Self

import msgspec

from mastery.errors import HostileImport
from mastery.lab.document import plain
from mastery.store.records import Imported, LoggedEvent, Origin, ReceivedRun
from mastery.store.rows import COLUMNS, values_of

_RUN = f"{COLUMNS}, document"
_EVENT = "id, at, actor, kind, origin, body"


class Staging:
    """Two temporary tables; `merge` must be called inside a transaction on the same connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        self._connection.execute(f"CREATE TEMP TABLE received_runs (line INTEGER PRIMARY KEY, {_RUN})")
        self._connection.execute(f"CREATE TEMP TABLE received_events (line INTEGER PRIMARY KEY, {_EVENT})")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.execute("DROP TABLE temp.received_runs")
        self._connection.execute("DROP TABLE temp.received_events")

    def add(self, line: int, value: ReceivedRun | LoggedEvent) -> None:
        """Puts one judged value aside."""
        match value:
            case ReceivedRun():
                row: tuple[str | bytes, ...] = values_of(value.document, Origin.IMPORTED, value.text)
                query = f"INSERT INTO temp.received_runs (line, {_RUN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            case LoggedEvent():
                body = msgspec.json.encode(plain(value.body), order="sorted")
                row = (value.id, value.at, value.actor, value.kind, Origin.IMPORTED.value, body)
                query = f"INSERT INTO temp.received_events (line, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        self._connection.execute(query, (line, *row))

    def merge(self) -> Imported:
        """Moves everything into the store, or raises `HostileImport` for an id that stands for something else there."""
        for what, table, differs in (
            ("run", "runs", "new.hash IS NOT old.hash"),
            ("event", "events", "(new.at, new.actor, new.kind, new.body) IS NOT (old.at, old.actor, old.kind, old.body)"),
        ):
            for older in (f"main.{table}", f"temp.received_{table}"):
                query = f"SELECT new.line, new.id FROM temp.received_{table} new JOIN {older} old USING (id) WHERE {differs}"  # noqa: S608
                clash = self._connection.execute(f"{query} ORDER BY new.line DESC LIMIT 1").fetchone()
                if clash:
                    raise HostileImport(
                        f"Line {clash[0]}: the id of {what} {clash[1]!r} already stands for something else.",
                        remedy="Nothing was imported. One of the two was changed: ask for the file as `mastery export` wrote it.",
                    )
        runs, known_runs = self._move("runs", _RUN)
        events, known_events = self._move("events", _EVENT)
        return Imported(runs, events, known_runs + known_events)

    def _move(self, table: str, columns: str) -> tuple[int, int]:
        """How many were added, and how many were there before."""
        added = self._connection.execute(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM temp.received_{table} "  # noqa: S608
            "WHERE true ORDER BY line ON CONFLICT (id) DO NOTHING"
        ).rowcount
        (received,) = self._connection.execute(f"SELECT count(*) FROM temp.received_{table}").fetchone()  # noqa: S608
        return added, received - added
