import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from crash_kit import lost, processes_that_mention, wait_until, write_writers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_power_cut import RUN

from mastery.components import fuse_cut
from mastery.components.component import Here, Missing
from mastery.components.crash_places import Cut
from mastery.components.crash_states import POSIX, explore
from mastery.components.file_operations import Create, Flush, FlushFolder, Operation, Rename, Truncate, Unlink, Write
from mastery.components.fuse_cut import FuseCut
from mastery.components.modelled_disk import ModelledDisk, recover
from mastery.components.power_cut import Moment, Since, WriterCall, run_and_cut
from mastery.components.writer_process import SEARCH
from mastery.errors import DomainError


@pytest.fixture
def writers(tmp_path: Path) -> str:
    return write_writers(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def fuse(scratch: Path) -> FuseCut:
    found = FuseCut().find(scratch)
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    return FuseCut()


# ---- the model, without a mount ----


def survivors(disk_folder: Path) -> dict[str, bytes]:
    found = disk_folder / "found"
    found.mkdir()
    recover(disk_folder, found)
    return {each.name: each.read_bytes() for each in found.iterdir()}


def test_a_disk_that_was_never_flushed_is_empty_after_the_cut(tmp_path: Path) -> None:
    disk = ModelledDisk(tmp_path)
    disk.write(disk.create("log"), 0, b"gone")
    assert survivors(tmp_path) == {}


def test_the_flush_of_one_file_keeps_the_names_of_all_and_the_data_of_that_one(tmp_path: Path) -> None:
    disk = ModelledDisk(tmp_path)
    disk.write(disk.create("other"), 0, b"gone")
    log = disk.create("log")
    disk.write(log, 0, b"kept")
    disk.flush(log)
    disk.write(log, 4, b"gone")
    assert survivors(tmp_path) == {"log": b"kept", "other": b""}


def test_what_was_cut_off_does_not_come_back_below_a_later_growth(tmp_path: Path) -> None:
    disk = ModelledDisk(tmp_path)
    log = disk.create("log")
    disk.write(log, 0, b"secret")
    disk.flush(log)
    disk.resize(log, 1)
    disk.write(log, 4, b"x")
    disk.flush(log)
    assert survivors(tmp_path) == {"log": b"s\0\0\0x"}


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    names: dict[str, int] = {}
    files = 0
    operations: list[Operation] = []
    for _ in range(draw(st.integers(0, 7))):
        kind = draw(st.sampled_from(["create", "write", "flush", "folder", "rename", "unlink", "truncate"]))
        free = [each for each in ("a", "b", "c") if each not in names]
        if kind == "create" and free and files < 2:
            names[free[0]] = files
            operations.append(Create(files, free[0]))
            files += 1
        elif kind == "write" and files:
            operations.append(
                Write(draw(st.integers(0, files - 1)), draw(st.integers(0, 3)), draw(st.binary(min_size=1, max_size=3)))
            )
        elif kind in {"flush", "truncate"} and files:
            operations.append((Flush if kind == "flush" else Truncate)(draw(st.integers(0, files - 1))))
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
    return operations


@settings(max_examples=150, deadline=None)
@given(histories())
def test_what_the_model_leaves_is_a_state_that_posix_allows(operations: list[Operation]) -> None:
    allowed = {state.files for state in explore(operations, POSIX, limit=1 << 20).states}
    with TemporaryDirectory() as folder:
        disk, numbers = ModelledDisk(Path(folder)), dict[int, int]()
        for each in operations:
            match each:
                case Create(file, name):
                    numbers[file] = disk.create(name)
                case Write(file, offset, data):
                    disk.write(numbers[file], offset, data)
                case Truncate(file):
                    disk.resize(numbers[file], 0)
                case Flush(file):
                    disk.flush(numbers[file])
                case FlushFolder():
                    disk.flush_names()
                case Rename(old, new):
                    disk.rename(old, new)
                case Unlink(name):
                    disk.unlink(name)
                case _:
                    raise AssertionError(each)
        assert tuple(sorted(survivors(Path(folder)).items())) in allowed


# ---- the mount ----


def test_the_library_that_is_absent_is_named(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse_cut.importlib.util, "find_spec", lambda name: None)
    found = FuseCut().find(scratch)
    assert isinstance(found, Missing) and "mfusepy" in found.reason


@pytest.mark.parametrize(("arguments", "most"), [({"every": 1}, 0), ({"every": 16}, 15), ({"every": 1, "lying": True}, 1)])
def test_the_modelled_device_loses_at_most_what_the_policy_leaves_open(
    fuse: FuseCut, scratch: Path, writers: str, arguments: dict[str, int], most: int
) -> None:
    with run_and_cut(fuse, WriterCall(f"{writers}:append", arguments), Moment(0.02, at_least=20), folder=scratch) as after:
        assert lost(after) <= most
    assert list(scratch.iterdir()) == []


def test_the_modelled_device_forgets_all_that_was_never_flushed(fuse: FuseCut, scratch: Path, writers: str) -> None:
    with run_and_cut(fuse, WriterCall(f"{writers}:append", {"every": 0}), Moment(0.02, at_least=20), folder=scratch) as after:
        assert lost(after) == len(after.acknowledged) >= 20


@pytest.mark.parametrize(("flush", "content"), [(True, b"new" * 1000), (False, b"old")])
def test_a_rename_survives_on_the_modelled_device_only_with_its_flushes(
    fuse: FuseCut, scratch: Path, writers: str, flush: bool, content: bytes
) -> None:
    call = WriterCall(f"{writers}:rename", {"flush": flush}, prepare=f"{writers}:old_content")
    with run_and_cut(fuse, call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.folder / "config").read_bytes() == content


def test_a_failing_writer_leaves_no_mount(fuse: FuseCut, scratch: Path, writers: str) -> None:
    with pytest.raises(DomainError, match="upside down"):  # noqa: SIM117
        with run_and_cut(fuse, WriterCall(f"{writers}:fail"), Moment(9), folder=scratch):
            pass
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()
    assert list(scratch.iterdir()) == []


def test_a_killed_engine_leaves_no_server_and_no_mount(fuse: FuseCut, scratch: Path, writers: str) -> None:
    assert isinstance(fuse.find(scratch), Here)
    command = [sys.executable, "-c", RUN, Cut.MODELLED, "0", writers, str(scratch)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": SEARCH}) as engine:
        # The server and the writer; the engine's own words mention the folder too, but not the place in it.
        wait_until(lambda: len(processes_that_mention(f"{scratch}/cut-")) >= 2, "the writer never ran")
        engine.send_signal(signal.SIGKILL)
    wait_until(lambda: str(scratch) not in Path("/proc/self/mountinfo").read_text(), "the mount stays")
    wait_until(lambda: processes_that_mention(str(scratch)) == [], "a process lives on")
