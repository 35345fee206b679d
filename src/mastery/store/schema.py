"""Opens the database and brings its tables up to date: in one transaction, safe for two processes at once."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from mastery.store.failures import explained, locked, newer

BUSY_TIMEOUT_S = 10.0


def migrations() -> list[str]:
    """The numbered scripts in order; number n takes the schema from n - 1 to n."""
    folder = resources.files("mastery.store")
    scripts = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    assert [int(each.name[:4]) for each in scripts] == list(range(1, len(scripts) + 1)), "migrations are numbered without a gap"
    return [each.read_text(encoding="utf-8") for each in scripts]


def connect_to_write(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection to the store at `path`, made and migrated where needed; raises `StoreError`."""
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made by us before SQLite sees it: the log and the shared index inherit these permissions. A file that exists is
        # not touched: closing a descriptor of it would release the locks of every connection that this process has.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
        try:
            _prepare(connection, path, timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_to_read(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection that writes nothing, so that a read-only home can still show its runs; raises `StoreError`."""
    with explained(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=timeout_s, isolation_level=None, uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema")
        except sqlite3.OperationalError:
            connection.close()
            log = path.with_name(path.name + "-wal")
            if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size > 0):
                raise
            # Without a place for its shared index SQLite reads only a file that it is told will not change. Nobody
            # can change it in a folder that cannot be written, and with an empty log the file is the whole truth.
            uri = f"{path.absolute().as_uri()}?immutable=1"
            connection = sqlite3.connect(uri, timeout=timeout_s, isolation_level=None, uri=True)
        try:
            _refuse_newer(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path, timeout_s: float) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # A killed process loses nothing that was committed; see the decision record on the store for power cuts.
    connection.execute("PRAGMA synchronous = NORMAL")
    _refuse_newer(connection, path)
    scripts = migrations()
    if _version(connection) == len(scripts) and _is_logged(connection):
        return
    # Switching to the log ignores the busy timeout of SQLite: two first starts would fail one of them.
    with _alone(path, timeout_s):
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection, path, scripts)


def _migrate(connection: sqlite3.Connection, path: Path, scripts: list[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again inside the transaction: another process may have migrated while we waited.
        _refuse_newer(connection, path)
        for number in range(_version(connection) + 1, len(scripts) + 1):
            for statement in _statements(scripts[number - 1]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Single statements, because `executescript` would commit the transaction first."""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""
    assert not gathered.strip(), "a migration ends with a complete statement"


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_logged(connection: sqlite3.Connection) -> bool:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    found, known = _version(connection), len(migrations())
    if found > known:
        raise newer(path, found, known)


@contextmanager
def _alone(path: Path, timeout_s: float) -> Iterator[None]:
    """Holds the folder's lock, which the kernel releases however its holder ends."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise locked(path) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(folder)
