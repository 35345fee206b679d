"""What SQLite and the file system refuse, said as a `StoreError` with the remedy."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mastery.errors import StoreError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# SQLite names a file that cannot grow in several ways, by what it was doing at that moment: extending the shared
# index, writing the log, flushing. All of them mean the same to the user.
_CANNOT_GROW = frozenset(
    {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE"}
)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what goes wrong inside the block into a `StoreError` about the store at `path`."""
    try:
        yield
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            # Misuse by our own code, or a broken invariant of the tables: a bug keeps its traceback.
            raise
        raise of_sqlite(error, path) from error
    except msgspec.DecodeError as error:
        raise damaged(path, f"what we wrote cannot be read back ({error})") from error
    except OSError as error:
        raise of_system(error, path) from error


def of_sqlite(error: sqlite3.Error, path: Path) -> StoreError:
    """The sentence for an error of SQLite; the extended code decides, never the text."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name in _CANNOT_GROW:
        return _full(path, name)
    if name.startswith("SQLITE_READONLY") or name == "SQLITE_PERM":
        return _read_only(path)
    if name.startswith("SQLITE_CANTOPEN") and path.exists() and not os.access(path.parent, os.W_OK):
        # Not the file but its shared index could not be made.
        return _read_only(path)
    if name.startswith("SQLITE_CANTOPEN"):
        return StoreError(f"The store {path} cannot be opened ({name}).", remedy=_other_home(path.parent))
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damaged(path, str(error))
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return locked(path)
    return StoreError(f"The store {path} failed: {error} ({name or 'no code'}).", remedy=_other_home(path.parent))


def of_system(error: OSError, path: Path) -> StoreError:
    """The sentence for an error of the file system around the store."""
    if error.errno in _NO_SPACE:
        return _full(path, errno.errorcode.get(error.errno or 0, ""))
    if error.errno in _NOT_ALLOWED:
        return _read_only(path)
    return StoreError(f"The store {path} cannot be used: {error.strerror or error}.", remedy=_other_home(path.parent))


def damaged(path: Path, how: str) -> StoreError:
    """The file is kept as it is: what is left in it may still be read by SQLite's own recovery."""
    return StoreError(
        f"The store {path} is damaged: {how}.",
        remedy=f"Nothing was changed. Set it aside (mv {path} {path}.damaged) and start anew, or recover it: "
        f"sqlite3 {path} .recover | sqlite3 {path}.recovered",
    )


def locked(path: Path) -> StoreError:
    return StoreError(
        f"The store {path} stayed locked by another process.",
        remedy=f"Wait for the other command, or find it: fuser -v {path}",
    )


def newer(path: Path, found: int, known: int) -> StoreError:
    return StoreError(
        f"The store {path} has schema {found}; this version of Mastery knows schemas up to {known}.",
        remedy="Update Mastery (git pull), or choose another folder by MASTERY_HOME=FOLDER.",
    )


def _full(path: Path, name: str) -> StoreError:
    return StoreError(
        f"The store {path} cannot grow ({name}): the disk is full, a quota or limit is reached, or the device fails.",
        remedy=f"Free some space (df -h {path.parent}), or choose another folder by MASTERY_HOME=FOLDER.",
    )


def _read_only(path: Path) -> StoreError:
    return StoreError(f"The store {path} cannot be written: its folder or file is read-only.", remedy=_other_home(path.parent))


def _other_home(folder: Path) -> str:
    return f"Make {folder} writable for you, or choose another folder by MASTERY_HOME=FOLDER."
