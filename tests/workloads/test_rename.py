"""Replacing a file by write and rename on a real file system, and every outcome that a reader can find afterwards."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mastery.workloads.rename import NAME, NEW, OLD, TEMPORARY, Flush, Outcome, RenameFound, make_old, read_name, write_and_rename


def dance(folder: Path, flush: Flush, *, replacing: bool = True, flush_another: bool = False) -> list[int]:
    acknowledged: list[int] = []
    make_old(folder, replacing=replacing)
    write_and_rename(folder, acknowledged.append, replacing=replacing, flush=flush, flush_another=flush_another)
    return acknowledged


@pytest.mark.parametrize("replacing", [True, False])
@pytest.mark.parametrize("flush", Flush)
def test_without_a_crash_every_dance_leaves_the_new_content_and_acknowledges_once(
    tmp_path: Path, flush: Flush, replacing: bool
) -> None:
    assert dance(tmp_path, flush, replacing=replacing) == [0]
    assert (tmp_path / NAME).read_bytes() == NEW
    assert read_name(tmp_path) == RenameFound(Outcome.NEW, stray=False)


@pytest.mark.parametrize(
    ("flush", "flush_another", "expected"),
    [
        (Flush.NOTHING, False, []),
        (Flush.FILE, False, ["file"]),
        (Flush.FILE_AND_FOLDER, False, ["file", "folder"]),
        (Flush.NOTHING, True, ["acknowledged", "file"]),
        (Flush.FILE_AND_FOLDER, True, ["file", "folder", "acknowledged", "file"]),
    ],
)
def test_each_dance_flushes_what_it_says_before_it_acknowledges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: Flush, flush_another: bool, expected: list[str]
) -> None:
    story: list[str] = []
    real: Callable[[int], None] = os.fsync

    def told(descriptor: int) -> None:
        real(descriptor)
        story.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")

    monkeypatch.setattr(os, "fsync", told)
    make_old(tmp_path, replacing=True)
    write_and_rename(tmp_path, lambda _: story.append("acknowledged"), replacing=True, flush=flush, flush_another=flush_another)
    assert story == (expected if "acknowledged" in expected else [*expected, "acknowledged"])


@pytest.mark.parametrize(
    ("content", "outcome", "damaged", "damaged_when_new"),
    [
        (OLD, Outcome.OLD, False, False),
        (NEW, Outcome.NEW, False, False),
        (b"", Outcome.EMPTY, True, True),
        (None, Outcome.ABSENT, True, False),
        (NEW[:-1], Outcome.TORN, True, True),
        (bytes(len(NEW)), Outcome.TORN, True, True),
        (OLD + NEW, Outcome.TORN, True, True),
    ],
    ids=["old", "new", "empty", "absent", "short", "zeroes", "mixed"],
)
@pytest.mark.parametrize("stray", [True, False])
def test_each_state_of_the_name_has_its_outcome_and_only_the_unwanted_ones_are_damage(
    tmp_path: Path, content: bytes | None, outcome: Outcome, damaged: bool, damaged_when_new: bool, stray: bool
) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    if stray:
        (tmp_path / TEMPORARY).write_bytes(b"")
    found = read_name(tmp_path)
    assert (found.outcome, found.stray) == (outcome, stray)
    assert found.is_damaged(replacing=True) is damaged
    assert found.is_damaged(replacing=False) is damaged_when_new


def test_the_old_file_is_there_only_where_one_is_to_be_replaced(tmp_path: Path) -> None:
    make_old(tmp_path, replacing=False)
    assert read_name(tmp_path).outcome is Outcome.ABSENT
    make_old(tmp_path, replacing=True)
    assert read_name(tmp_path).outcome is Outcome.OLD
