"""Replacing a file by write and rename, with and without the flushes that make it safe, and what stands there after a crash."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mastery.components.power_cut import Argument, WriterCall

OLD = b"old " * 2048
NEW = b"new " * 4096
NAME = "config"
TEMPORARY = "config.tmp"


class Flush(StrEnum):
    """What is flushed around the rename."""

    NOTHING = "nothing"
    FILE = "file"
    FILE_AND_FOLDER = "file_and_folder"


class Outcome(StrEnum):
    """What a reader finds under the name after the restart."""

    OLD = "old"
    NEW = "new"
    EMPTY = "empty"
    ABSENT = "absent"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class RenameFound:
    """The outcome, and whether the temporary name was left behind."""

    outcome: Outcome
    stray: bool

    def metrics(self, *, replacing: bool) -> dict[str, float]:
        """One trial in the metrics of the experiment: each a count of 0 or 1."""
        counted = {each.value: float(self.outcome is each) for each in (Outcome.NEW, Outcome.EMPTY, Outcome.ABSENT, Outcome.TORN)}
        lost = float(self.outcome is not Outcome.NEW)
        return {**counted, "lost": lost, "stray": float(self.stray), "damaged": float(self.is_damaged(replacing=replacing))}

    def is_damaged(self, *, replacing: bool) -> bool:
        """Neither the old nor the new content: for a new name, its absence is the old state and no damage."""
        return self.outcome in (Outcome.EMPTY, Outcome.TORN) or (replacing and self.outcome is Outcome.ABSENT)


def make_old(folder: Path, *, replacing: bool, **_: object) -> None:
    """Makes the old file where one is to be replaced; the place flushes it."""
    if replacing:
        (folder / NAME).write_bytes(OLD)


def write_and_rename(folder: Path, acknowledge: Callable[[int], None], *, replacing: bool, flush: str, flush_another: bool) -> None:
    """Writes the new content to a temporary name, renames it, and returns: the caller cuts afterwards.

    With `flush_another` it then flushes a file that has nothing to do with it, which writes the journal.
    """
    del replacing
    wanted = Flush(flush)
    file = os.open(folder / TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(file, NEW)
    if wanted is not Flush.NOTHING:
        os.fsync(file)
    os.close(file)
    (folder / TEMPORARY).rename(folder / NAME)
    if wanted is Flush.FILE_AND_FOLDER:
        _flush_folder(folder)
    acknowledge(0)
    if flush_another:
        other = os.open(folder / "another", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(other, b"x")
        os.fsync(other)
        os.close(other)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def dancing(*, replacing: bool, flush: str, flush_another: bool) -> WriterCall:
    """The call that a place runs before it is cut."""
    steps: dict[str, Argument] = {"replacing": replacing, "flush": flush, "flush_another": flush_another}
    return WriterCall(f"{__name__}:write_and_rename", steps, prepare=f"{__name__}:make_old")


def read_name(folder: Path) -> RenameFound:
    """Looks at the name after the restart."""
    path = folder / NAME
    stray = (folder / TEMPORARY).exists()
    if not path.exists():
        return RenameFound(Outcome.ABSENT, stray)
    content = path.read_bytes()
    known = {OLD: Outcome.OLD, NEW: Outcome.NEW, b"": Outcome.EMPTY}
    return RenameFound(known.get(content, Outcome.TORN), stray)
