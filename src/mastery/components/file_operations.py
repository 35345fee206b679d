"""The file operations of a writer, done for real and told to whoever listens: one call here is one call of the system.

The same writer runs unheard in a place that is cut, and heard once in a plain folder, from which the crash states that
its calls allow are worked out (see `crash_states`).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Create:
    """A new, empty file under a name."""

    file: int
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset, in the page cache when the call returns."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A new length of a file; only what `open` with truncation does, so always to nothing."""

    file: int


@dataclass(frozen=True, slots=True)
class Flush:
    """fsync or fdatasync of a file; the length of a file is flushed by both."""

    file: int


@dataclass(frozen=True, slots=True)
class FlushFolder:
    """fsync of the folder: the names in it."""


@dataclass(frozen=True, slots=True)
class Rename:
    """A file under a new name, which it takes from the file that had it."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name less."""

    name: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The promise to the outside that a record is safe."""

    number: int


Operation = Create | Write | Truncate | Flush | FlushFolder | Rename | Unlink | Acknowledge


def _ignore(operation: Operation) -> None:
    del operation


class Files:
    """The files of one folder; file numbers stand for open files, and a file keeps its number under every name."""

    def __init__(self, folder: Path, acknowledge: Callable[[int], object], *, tell: Callable[[Operation], None] = _ignore) -> None:
        self._folder = folder
        self._acknowledge = acknowledge
        self._tell = tell
        self._descriptors: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._existing = {name: number for number, name in enumerate(sorted(each.name for each in folder.iterdir()))}
        self._next = len(self._existing)

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def create(self, name: str) -> int:
        """A new file; the name must be free."""
        file = self._next
        self._next += 1
        self._descriptors[file] = os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        self._ends[file] = 0
        self._tell(Create(file, name))
        return file

    def open(self, name: str, *, truncate: bool = False) -> int:
        """A file that was in the folder before."""
        file = self._existing[name]
        descriptor = self._descriptors[file] = os.open(self._folder / name, os.O_RDWR | (os.O_TRUNC if truncate else 0))
        self._ends[file] = os.fstat(descriptor).st_size
        if truncate:
            self._tell(Truncate(file))
        return file

    def append(self, file: int, data: bytes) -> None:
        self.write(file, data, offset=self._ends[file])

    def write(self, file: int, data: bytes, *, offset: int) -> None:
        written = os.pwrite(self._descriptors[file], data, offset)
        if written != len(data):
            raise OSError(f"Only {written} of {len(data)} bytes were written.")
        self._ends[file] = max(self._ends[file], offset + len(data))
        self._tell(Write(file, offset, data))

    def flush(self, file: int, *, call: Callable[[int], None] = os.fdatasync) -> None:
        """`call` is os.fdatasync or os.fsync."""
        call(self._descriptors[file])
        self._tell(Flush(file))

    def flush_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._tell(FlushFolder())

    def rename(self, old: str, new: str) -> None:
        (self._folder / old).rename(self._folder / new)
        self._tell(Rename(old, new))

    def unlink(self, name: str) -> None:
        (self._folder / name).unlink()
        self._tell(Unlink(name))

    def acknowledge(self, number: int) -> None:
        self._acknowledge(number)
        self._tell(Acknowledge(number))
