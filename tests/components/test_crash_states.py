import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastery.components.crash_states import EXT4, EXT4_NOAUTO, POSIX, Exploration, Model, explore, tally
from mastery.components.file_operations import (
    Acknowledge,
    Create,
    Files,
    Flush,
    FlushFolder,
    Operation,
    Rename,
    Truncate,
    Unlink,
    Write,
)

MODELS = [POSIX, EXT4, EXT4_NOAUTO]
# Sectors of four bytes keep the cases small; nothing in the model depends on the number.
SMALL = [replace(model, sector_bytes=4) for model in MODELS]


def contents(exploration: Exploration, name: str) -> set[bytes | None]:
    return {dict(state.files).get(name) for state in exploration.states}


def contents_once_promised(exploration: Exploration, name: str) -> set[bytes | None]:
    """What a name may hold when the crash came after the promise."""
    return {dict(state.files).get(name) for state in exploration.states if state.acknowledged}


def read_records(files: Mapping[str, bytes]) -> dict[int, bool]:
    """Records of four bytes, all the same: their number; an incomplete or mixed one is torn."""
    log = files.get("log", b"")
    return {number: log[4 * number : 4 * number + 4] == bytes([number + 1]) * 4 for number in range((len(log) + 3) // 4)}


def appends(count: int, *, flush_every: int = 0, acknowledge_first: bool = False) -> list[Operation]:
    """A log of records of four bytes in a file whose name is safe."""
    operations: list[Operation] = [Create(0, "log"), FlushFolder()]
    for number in range(count):
        write: list[Operation] = [Write(0, 4 * number, bytes([number + 1]) * 4)]
        if flush_every and number % flush_every == flush_every - 1:
            write.append(Flush(0))
        acknowledge: list[Operation] = [Acknowledge(number)]
        operations += acknowledge + write if acknowledge_first else write + acknowledge
    return operations


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.name)
def test_a_log_that_is_flushed_before_each_promise_loses_nothing_in_any_state(model: Model) -> None:
    explored = explore(appends(3, flush_every=1), model)
    counted = tally(explored, read_records)
    assert explored.exact
    assert (counted.worst_lost, counted.worst_torn, counted.states_with_loss) == (0, 0, 0)


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.name)
def test_a_log_that_is_never_flushed_may_lose_all_that_it_promised(model: Model) -> None:
    assert tally(explore(appends(3), model), read_records).worst_lost == 3


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.name)
def test_batches_of_four_may_lose_three_and_no_more(model: Model) -> None:
    assert tally(explore(appends(8, flush_every=4), model, limit=100_000), read_records).worst_lost == 3


@pytest.mark.parametrize("model", SMALL, ids=lambda model: model.name)
def test_a_promise_before_the_flush_is_caught_with_one_lost_record(model: Model) -> None:
    counted = tally(explore(appends(3, flush_every=1, acknowledge_first=True), model), read_records)
    assert counted.worst_lost == 1 and counted.states_with_loss > 0


def test_a_record_over_two_sectors_may_be_torn_and_one_within_a_sector_may_not() -> None:
    write: list[Operation] = [Create(0, "log"), FlushFolder(), Write(0, 0, b"aabb"), Acknowledge(0)]
    halves = contents(explore(write, replace(EXT4, sector_bytes=2)), "log")
    assert halves == {None, b"", b"aa", b"\0\0bb", b"aabb"}
    assert contents(explore(write, replace(EXT4, sector_bytes=4)), "log") == {None, b"", b"aabb"}


def test_a_file_may_grow_without_its_data_only_where_the_model_says_so() -> None:
    write: list[Operation] = [Create(0, "log"), FlushFolder(), Write(0, 0, b"ab")]
    assert b"\0\0" in contents(explore(write, POSIX), "log")
    assert b"\0\0" not in contents(explore(write, EXT4), "log")


def dance(*, flush: bool, flush_folder: bool, replacing: bool) -> tuple[list[Operation], dict[str, bytes]]:
    """Write a new file, rename it over the old name (or a free one), and promise; with the files before."""
    before = {"config": b"old"} if replacing else {}
    file = len(before)
    operations: list[Operation] = [Create(file, "config.new"), Write(file, 0, b"new")]
    if flush:
        operations.append(Flush(file))
    operations.append(Rename("config.new", "config"))
    if flush_folder:
        operations.append(FlushFolder())
    return [*operations, Acknowledge(0)], before


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_whole_rename_dance_leaves_the_new_content_once_it_is_over(model: Model) -> None:
    operations, before = dance(flush=True, flush_folder=True, replacing=True)
    explored = explore(operations, model, before=before)
    assert contents_once_promised(explored, "config") == {b"new"}
    assert contents(explored, "config") == {b"old", b"new"}


@pytest.mark.parametrize(
    ("model", "replacing", "found"),
    [
        (EXT4, True, {b"old", b"new"}),
        (EXT4, False, {None, b"", b"new"}),
        (EXT4_NOAUTO, True, {b"old", b"", b"new"}),
        (POSIX, True, {b"old", b"", b"new", b"\0\0\0"}),
    ],
)
def test_a_rename_without_a_flush_leaves_what_was_seen_on_real_file_systems(
    model: Model, replacing: bool, found: set[bytes | None]
) -> None:
    operations, before = dance(flush=False, flush_folder=False, replacing=replacing)
    assert contents(explore(operations, model, before=before), "config") == found


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_flushed_file_may_still_lack_its_new_name_where_the_folder_was_not_flushed(model: Model) -> None:
    operations, before = dance(flush=True, flush_folder=False, replacing=False)
    assert contents_once_promised(explore(operations, model, before=before), "config") == {None, b"new"}


def test_data_written_after_a_replacing_rename_are_not_taken_along_by_it() -> None:
    operations: list[Operation] = [Create(1, "b"), Write(1, 0, b"x"), Rename("b", "a"), Write(1, 1, b"y")]
    found = contents(explore(operations, replace(EXT4, sector_bytes=1), before={"a": b"old"}), "a")
    assert found == {b"old", b"x", b"xy"}


def test_an_unlinked_name_may_come_back_until_the_folder_is_flushed() -> None:
    assert contents(explore([Unlink("a")], POSIX, before={"a": b"1"}), "a") == {b"1", None}
    explored = explore([Unlink("a"), FlushFolder(), Acknowledge(0)], POSIX, before={"a": b"1"})
    assert [each.files for each in explored.states if each.acknowledged] == [()]


def test_a_truncated_file_may_still_be_full_or_empty() -> None:
    assert contents(explore([Truncate(0)], EXT4, before={"a": b"1"}), "a") == {b"1", b""}


def test_too_many_ways_are_sampled_by_the_seed_and_said_to_be_a_sample() -> None:
    operations = appends(40)
    explored = explore(operations, POSIX, limit=500, seed=3)
    assert (explored.tried, explored.exact) == (500, False)
    # Before all: 1; after the creation: 2; after the flush of the folder: 1; then length and data of k records, twice each.
    assert explored.total == 1 + 2 + 1 + 2 * sum(4**records for records in range(1, 41))
    assert explored == explore(operations, POSIX, limit=500, seed=3)
    assert explored.states != explore(operations, POSIX, limit=500, seed=4).states
    assert tally(explored, read_records).worst_lost > 10


# ---- the dumb twin: every subset of everything that was done, and then a judge that throws out what is not allowed ----


def twin(
    operations: list[Operation], model: Model, before: Mapping[str, bytes]
) -> set[tuple[tuple[tuple[str, bytes], ...], tuple[int, ...]]]:
    found = set()
    for calls in range(len(operations) + 1):
        done = operations[:calls]
        acknowledged = tuple(each.number for each in done if isinstance(each, Acknowledge))
        atoms = list(split(done, model, before))
        for kept in itertools.product([False, True], repeat=len(atoms)):
            if allowed(done, atoms, kept, model, before):
                found.add((replay(atoms, kept, before), acknowledged))
    return found


def split(done: list[Operation], model: Model, before: Mapping[str, bytes]) -> Iterable[tuple[int, Operation, int]]:
    """Operations in indivisible parts: (index of the call, the part, length it grows the file to or -1)."""
    lengths = {number: len(before[name]) for number, name in enumerate(sorted(before))}
    for index, each in enumerate(done):
        match each:
            case Write(file, offset, data):
                if model.length_alone and offset + len(data) > lengths.get(file, 0):
                    yield index, Write(file, 0, b""), offset + len(data)
                for sector, group in itertools.groupby(range(offset, offset + len(data)), lambda at: at // model.sector_bytes):
                    places = list(group)
                    assert sector >= 0
                    yield index, Write(file, places[0], data[places[0] - offset : places[-1] + 1 - offset]), -1
                lengths[file] = max(lengths.get(file, 0), offset + len(data))
            case Truncate(file):
                lengths[file] = 0
                yield index, each, -1
            case Create() | Rename() | Unlink():
                yield index, each, -1
            case _:
                pass


def owner(done: list[Operation], until: int, name: str, before: Mapping[str, bytes]) -> int | None:
    names: dict[str, int] = {each: number for number, each in enumerate(sorted(before))}
    for each in done[:until]:
        match each:
            case Create(file, new):
                names[new] = file
            case Rename(old, new):
                names[new] = names.pop(old)
            case Unlink(gone):
                names.pop(gone)
            case _:
                pass
    return names.get(name)


def allowed(
    done: list[Operation],
    atoms: list[tuple[int, Operation, int]],
    kept: tuple[bool, ...],
    model: Model,
    before: Mapping[str, bytes],
) -> bool:
    is_name = [isinstance(each, Create | Rename | Unlink) for _, each, _ in atoms]
    names_kept = [keep for keep, name in zip(kept, is_name, strict=True) if name]
    if model.names_in_order and any(later and not earlier for earlier, later in itertools.pairwise(names_kept)):
        return False
    for (index, atom, _), keep in zip(atoms, kept, strict=True):
        later = done[index + 1 :]
        if isinstance(atom, Write | Truncate):
            if not keep and any(isinstance(each, Flush) and each.file == atom.file for each in later):
                return False
        else:
            forces = (FlushFolder, Flush) if model.flush_takes_names else (FlushFolder,)
            if not keep and any(isinstance(each, forces) for each in later):
                return False
            if (
                keep
                and isinstance(atom, Rename)
                and model.replacing_takes_data
                and owner(done, index, atom.new, before) is not None
            ):
                file = owner(done, index, atom.old, before)
                for (earlier, other, _), other_kept in zip(atoms, kept, strict=True):
                    if earlier < index and isinstance(other, Write | Truncate) and other.file == file and not other_kept:
                        return False
    return True


def replay(
    atoms: list[tuple[int, Operation, int]], kept: tuple[bool, ...], before: Mapping[str, bytes]
) -> tuple[tuple[str, bytes], ...]:
    names: dict[str, int] = {each: number for number, each in enumerate(sorted(before))}
    data: dict[int, dict[int, int]] = {number: dict(enumerate(before[name])) for name, number in names.items()}
    length = {number: len(before[name]) for name, number in names.items()}
    for (_, atom, grow), keep in zip(atoms, kept, strict=True):
        if not keep:
            continue
        match atom:
            case Create(file, name):
                names[name] = file
            case Rename(old, new):
                target = {**dict(renamed_files(atoms, before))}[id(atom)]
                names.pop(old, None)
                names[new] = target
            case Unlink(name):
                names.pop(name, None)
            case Truncate(file):
                data[file], length[file] = {}, 0
            case Write(file, offset, written):
                data.setdefault(file, {}).update({offset + at: byte for at, byte in enumerate(written)})
                length[file] = max(length.get(file, 0), grow, offset + len(written) if written else 0)
            case _:
                pass
    return tuple(
        (name, bytes(data.get(file, {}).get(at, 0) for at in range(length.get(file, 0)))) for name, file in sorted(names.items())
    )


def renamed_files(atoms: list[tuple[int, Operation, int]], before: Mapping[str, bytes]) -> Iterable[tuple[int, int]]:
    everything = [atom for _, atom, _ in atoms]
    for at, atom in enumerate(everything):
        if isinstance(atom, Rename):
            file = owner(everything, at, atom.old, before)
            assert file is not None
            yield id(atom), file


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Operation], dict[str, bytes]]:
    """Sensible histories of up to two files and six calls: only open files are written, only names that exist are moved."""
    before = draw(st.sampled_from([{}, {"a": b"12"}]))
    names = {name: number for number, name in enumerate(sorted(before))}
    files = len(names)
    operations: list[Operation] = []
    for step in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["create", "write", "flush", "folder", "rename", "unlink", "ack", "truncate"]))
        free = [each for each in ("a", "b", "c") if each not in names]
        if kind == "create" and free and files < 2:
            names[free[0]] = files
            operations.append(Create(files, free[0]))
            files += 1
        elif kind == "write" and files:
            file = draw(st.integers(0, files - 1))
            operations.append(Write(file, draw(st.integers(0, 3)), draw(st.binary(min_size=1, max_size=3))))
        elif kind == "flush" and files:
            operations.append(Flush(draw(st.integers(0, files - 1))))
        elif kind == "truncate" and files:
            operations.append(Truncate(draw(st.integers(0, files - 1))))
        elif kind == "rename" and names:
            old = draw(st.sampled_from(sorted(names)))
            new = draw(st.sampled_from([each for each in ("a", "b", "c") if each != old]))
            names[new] = names.pop(old)
            operations.append(Rename(old, new))
        elif kind == "unlink" and names:
            gone = draw(st.sampled_from(sorted(names)))
            names.pop(gone)
            operations.append(Unlink(gone))
        elif kind == "folder":
            operations.append(FlushFolder())
        elif kind == "ack":
            operations.append(Acknowledge(step))
    return operations, before


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from([replace(model, sector_bytes=2) for model in MODELS]))
def test_the_states_are_those_that_the_dumb_twin_finds(history: tuple[list[Operation], dict[str, bytes]], model: Model) -> None:
    operations, before = history
    explored = explore(operations, model, before=before, limit=1 << 20)
    assert explored.exact
    assert {(state.files, state.acknowledged) for state in explored.states} == twin(operations, model, before)


@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from([replace(model, sector_bytes=2) for model in MODELS]), st.integers(0, 1000))
def test_a_sample_finds_only_states_that_the_whole_has(
    history: tuple[list[Operation], dict[str, bytes]], model: Model, seed: int
) -> None:
    operations, before = history
    everything = explore(operations, model, before=before, limit=1 << 20)
    sample = explore(operations, model, before=before, limit=min(20, everything.total - 1), seed=seed)
    known = {(state.files, state.acknowledged) for state in everything.states}
    assert {(state.files, state.acknowledged) for state in sample.states} <= known
    assert sample.total == everything.total


def test_the_calls_of_a_real_writer_are_heard_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"before")
    heard: list[Operation] = []
    promised: list[int] = []
    with Files(tmp_path, promised.append, tell=heard.append) as files:
        log = files.create("log.new")
        files.append(log, b"ab")
        files.append(log, b"cd")
        files.write(log, b"X", offset=0)
        files.flush(log, call=os.fsync)
        files.rename("log.new", "log")
        files.flush_folder()
        files.acknowledge(7)
        files.append(files.open("old"), b"!")
        files.open("old", truncate=True)
        files.unlink("old")
    assert heard == [
        *(Create(1, "log.new"), Write(1, 0, b"ab"), Write(1, 2, b"cd"), Write(1, 0, b"X"), Flush(1)),
        *(Rename("log.new", "log"), FlushFolder(), Acknowledge(7), Write(0, 6, b"!"), Truncate(0), Unlink("old")),
    ]
    assert promised == [7]
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"log": b"Xbcd"}


def on_a_real_disk(operations: list[Operation], before: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """What the kernel makes of the calls when nothing crashes."""
    files = {}
    for number, name in enumerate(sorted(before)):
        (folder / name).write_bytes(before[name])
        files[number] = os.open(folder / name, os.O_RDWR)
    for each in operations:
        match each:
            case Create(file, name):
                files[file] = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR)
            case Write(file, offset, data):
                os.pwrite(files[file], data, offset)
            case Truncate(file):
                os.ftruncate(files[file], 0)
            case Rename(old, new):
                (folder / old).rename(folder / new)
            case Unlink(name):
                (folder / name).unlink()
            case _:
                pass
    for descriptor in files.values():
        os.close(descriptor)
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@settings(max_examples=100, deadline=None)
@given(histories(), st.sampled_from(MODELS))
def test_once_everything_is_flushed_one_state_is_left_and_it_is_what_the_kernel_shows(
    history: tuple[list[Operation], dict[str, bytes]], model: Model
) -> None:
    operations, before = history
    explored = explore([*operations, FlushFolder(), Flush(0), Flush(1), Acknowledge(99)], model, before=before, limit=1 << 20)
    left = [dict(state.files) for state in explored.states if 99 in state.acknowledged]
    with TemporaryDirectory() as folder:
        assert left == [on_a_real_disk(operations, before, Path(folder))]
