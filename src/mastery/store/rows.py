"""The columns of a run's row, from a document into the table and back."""

import sqlite3
from typing import Any

from mastery.lab.document import RunDocument, canonical
from mastery.store.records import Origin, RunRow, Standing

COLUMNS = "id, experiment, article, mode, started, finished, standing, origin, machine, hash"


def row_of(values: tuple[Any, ...]) -> RunRow:
    """The row of a query over `COLUMNS`."""
    id, experiment, article, mode, started, finished, standing, origin, machine, hash = values
    return RunRow(id, experiment, article, mode, started, finished, Standing(standing), Origin(origin), machine, hash)


def values_of(document: RunDocument, origin: Origin, text: bytes) -> tuple[str | bytes, ...]:
    """The values of `COLUMNS`, and the canonical text of the document."""
    return (
        *(document.id, document.experiment, document.article, document.mode, document.started, document.finished),
        *(standing_of(document).value, origin.value, fingerprint_of(document.machine), document.hash, text),
    )


def insert_closed(connection: sqlite3.Connection, document: RunDocument, origin: Origin) -> int:
    """Adds a closed run; 0 when its id is taken."""
    return connection.execute(
        f"INSERT INTO runs ({COLUMNS}, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",  # noqa: S608
        values_of(document, origin, canonical(document)),
    ).rowcount


def standing_of(document: RunDocument) -> Standing:
    return Standing.INTERRUPTED if document.stopped == "interrupted" else Standing.CLOSED


def fingerprint_of(machine: object) -> str:
    """The fingerprint inside a document's or a header's `machine`; empty where there is none."""
    return str(machine.get("fingerprint", "")) if isinstance(machine, dict) else ""
