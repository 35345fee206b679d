"""Export and import of runs and events as lines of JSON: backup, sync and portability.

    {"document":{...},"kind":"run"}          the canonical bytes of the run, as they were hashed
    {"event":{...},"kind":"event"}

Import is all or nothing: the first line that breaks a rule is named, and the store stays as it was.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from mastery.errors import HostileImport, StoreError
from mastery.lab.document import RunDocument, canonical
from mastery.store.failures import explained
from mastery.store.intake import LINE_LIMIT_BYTE, judge_line
from mastery.store.records import Imported, LoggedEvent, ReceivedRun, Standing
from mastery.store.store import Store


@dataclass(frozen=True, slots=True)
class Exported:
    """How much was written."""

    runs: int
    events: int


def export_lines(store: Store, *, ids: Collection[str] | None = None) -> Iterator[bytes]:
    """Every closed run, the oldest first, then every event; with `ids` only these runs and no events."""
    for row in reversed(store.runs()):
        if row.standing is not Standing.OPEN and (ids is None or row.id in ids):
            yield _run_line(store.document(row.id))
    for event in store.events() if ids is None else []:
        yield _event_line(event)


def export_to(store: Store, file: BinaryIO, *, ids: Collection[str] | None = None) -> Exported:
    """Writes the lines of `export_lines` and counts them."""
    runs = events = 0
    for line in export_lines(store, ids=ids):
        file.write(line)
        is_run = line.startswith(b'{"document"')
        runs, events = runs + is_run, events + (not is_run)
    return Exported(runs, events)


def import_from(store: Store, file: BinaryIO, *, now: datetime) -> Imported:
    """Takes all runs and events of a file, labelled `imported`, in one transaction; raises `HostileImport`.

    What is already there is skipped. `now` is an aware time: what claims to come from later than that is refused.
    """
    return store.take_in(_judged_lines(file, now))


def spill(document: RunDocument, folders: Sequence[Path]) -> Path:
    """Saves a finished run in the first of the folders that takes it, when the store cannot; returns the file.

    `mastery import FILE` reads it. Raises the `StoreError` of the last folder when none takes it.
    """
    for number, folder in enumerate(folders, 1):
        path = folder / f"mastery-{document.id}.jsonl"
        try:
            with explained(path):
                _write_anew(path, _run_line(canonical(document)))
        except StoreError:
            if number == len(folders):
                raise
        else:
            return path
    raise ValueError("a run needs at least one folder to be saved in")


def _write_anew(path: Path, content: bytes) -> None:
    # Never over an existing file, never readable by others, and on the disk before we say that it is safe.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _run_line(document: bytes) -> bytes:
    # Put together from the stored bytes: a second encoding could only differ from what was hashed.
    return b'{"document":' + document + b',"kind":"run"}\n'


def _event_line(event: LoggedEvent) -> bytes:
    body = {"id": event.id, "at": event.at, "actor": event.actor, "kind": event.kind, "body": event.body}
    return msgspec.json.encode({"event": body, "kind": "event"}, order="sorted") + b"\n"


def _judged_lines(file: BinaryIO, now: datetime) -> Iterator[tuple[int, ReceivedRun | LoggedEvent]]:
    number = 0
    # Never more than one line in memory, however long the file pretends its line to be.
    while line := file.readline(LINE_LIMIT_BYTE + 2):
        number += 1
        try:
            yield number, judge_line(line.removesuffix(b"\n"), now=now)
        except HostileImport as refusal:
            raise HostileImport(f"Line {number}: {refusal.message}.", remedy=refusal.remedy) from refusal
