import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crash_kit import lost, processes_that_mention, wait_until, whole_records, write_writers
from test_power_cut import RUN

from mastery.components.component import Here, Missing
from mastery.components.crash_places import Cut
from mastery.components.loop_disk import FileSystem, LoopDisk
from mastery.components.power_cut import Moment, Since, WriterCall, run_and_cut
from mastery.components.shutdown_cut import ShutdownCut
from mastery.components.writer_process import SEARCH
from mastery.errors import DomainError, MachineCannot

PLACES = [ShutdownCut(), ShutdownCut(options=("noauto_da_alloc",)), ShutdownCut(FileSystem.XFS)]
PHASES_S = [0.013, 0.031, 0.058]

pytestmark = pytest.mark.root


@pytest.fixture
def writers(tmp_path: Path) -> str:
    return write_writers(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def open_descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def loop_devices_below(folder: Path) -> list[str]:
    """Loop devices whose image lies in the folder; an image without a name is still shown with the one it had."""
    backing = Path("/sys/block").glob("loop*/loop/backing_file")
    return [text for each in backing if (text := each.read_text().strip()).startswith(str(folder))]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_a_flush_before_each_promise_keeps_every_promise(place: ShutdownCut, scratch: Path, writers: str) -> None:
    for phase_s in PHASES_S:
        with run_and_cut(
            place, WriterCall(f"{writers}:append", {"every": 1}), Moment(phase_s, at_least=1), folder=scratch
        ) as after:
            assert lost(after) == 0


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_without_a_flush_nearly_all_that_was_promised_is_lost(place: ShutdownCut, scratch: Path, writers: str) -> None:
    with run_and_cut(place, WriterCall(f"{writers}:append", {"every": 0}), Moment(0.05, at_least=500), folder=scratch) as after:
        since = len(after.acknowledged_since_journal_write)
        assert since > 0
        assert lost(after) >= 0.9 * since


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_a_batch_loses_at_most_what_was_not_flushed_of_it(place: ShutdownCut, scratch: Path, writers: str) -> None:
    for phase_s in PHASES_S:
        with run_and_cut(place, WriterCall(f"{writers}:append", {"every": 16}), Moment(phase_s), folder=scratch) as after:
            assert lost(after) <= 15


def test_who_promises_before_the_flush_is_caught(scratch: Path, writers: str) -> None:
    call = WriterCall(f"{writers}:append", {"every": 0, "lying": True, "stop_after": 3})
    with run_and_cut(ShutdownCut(), call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.acknowledged, lost(after)) == ((0, 1, 2), 3)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_the_whole_rename_dance_survives_at_once(place: ShutdownCut, scratch: Path, writers: str) -> None:
    call = WriterCall(f"{writers}:rename", {"flush": True}, prepare=f"{writers}:old_content")
    with run_and_cut(place, call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.folder / "config").read_bytes() == b"new" * 1000


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_a_rename_without_flushes_is_undone_by_a_cut_at_once_and_what_was_prepared_is_kept(
    place: ShutdownCut, scratch: Path, writers: str
) -> None:
    call = WriterCall(f"{writers}:rename", {"flush": False}, prepare=f"{writers}:old_content")
    with run_and_cut(place, call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.folder / "config").read_bytes() == b"old"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.kind)
def test_the_flushes_of_a_writer_are_seen_as_journal_writes(place: ShutdownCut, scratch: Path, writers: str) -> None:
    with run_and_cut(place, WriterCall(f"{writers}:append", {"every": 1}), Moment(0.1, at_least=20), folder=scratch) as after:
        seen = after.acknowledged_at_journal_write
        assert len(seen) >= 1
        assert list(seen) == sorted(seen)


@pytest.mark.slow
def test_a_journal_write_by_time_alone_is_seen_and_what_was_promised_since_is_lost(scratch: Path, writers: str) -> None:
    place = ShutdownCut(options=("commit=1",))
    with run_and_cut(place, WriterCall(f"{writers}:append", {"every": 0}), Moment(1.6, at_least=500), folder=scratch) as after:
        since = len(after.acknowledged_since_journal_write)
        assert after.acknowledged_at_journal_write
        assert 0 < since < len(after.acknowledged)
        assert lost(after) >= 0.9 * since


def test_nothing_is_left_of_a_cut(scratch: Path, writers: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    open_before = open_descriptors()
    with run_and_cut(ShutdownCut(), WriterCall(f"{writers}:append"), Moment(0), folder=scratch):
        assert loop_devices_below(scratch) != []
        assert Path("/proc/self/mountinfo").read_text() == mounts
    wait_until(lambda: loop_devices_below(scratch) == [], "the loop device stays")
    assert open_descriptors() == open_before
    assert list(scratch.iterdir()) == []


def test_a_writer_that_fails_leaves_nothing_either(scratch: Path, writers: str) -> None:
    with pytest.raises(DomainError, match="upside down"):  # noqa: SIM117
        with run_and_cut(ShutdownCut(), WriterCall(f"{writers}:fail"), Moment(9), folder=scratch):
            pass
    wait_until(lambda: loop_devices_below(scratch) == [], "the loop device stays")
    assert processes_that_mention(str(scratch)) == []


def test_a_killed_engine_leaves_no_process_no_device_and_no_mount(scratch: Path, writers: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    command = [sys.executable, "-c", RUN, Cut.EXT4, "0", writers, str(scratch)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": SEARCH}) as engine:
        wait_until(lambda: len(processes_that_mention(f"{scratch}/cut-")) >= 2, "writer and watcher never ran")
        engine.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_that_mention(str(scratch)) == [], "the writer lives on")
    wait_until(lambda: loop_devices_below(scratch) == [], "the loop device stays")
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_file_system_keeps_what_was_flushed_over_a_second_mount(scratch: Path) -> None:
    disk = LoopDisk(scratch, FileSystem.EXT4)
    try:
        mount = disk.mount(())
        (Path(f"/proc/self/fd/{mount}") / "x").write_text("kept")
        os.close(mount)
        disk.wait_until_unmounted()
        mount = disk.mount(())
        assert (Path(f"/proc/self/fd/{mount}") / "x").read_text() == "kept"
        os.close(mount)
    finally:
        disk.close()


def test_a_mount_option_that_the_kernel_refuses_is_named(scratch: Path) -> None:
    disk = LoopDisk(scratch, FileSystem.EXT4)
    try:
        with pytest.raises(MachineCannot, match="no_such_option"):
            disk.mount(("no_such_option",))
    finally:
        disk.close()
    found = ShutdownCut(options=("no_such_option",)).find(scratch)
    assert isinstance(found, Missing) and "no_such_option" in found.reason


def test_the_cut_is_found_by_trying_it_and_leaves_nothing(scratch: Path) -> None:
    assert isinstance(ShutdownCut().find(scratch), Here)
    wait_until(lambda: loop_devices_below(scratch) == [], "the loop device stays")
    assert list(scratch.iterdir()) == []


def test_records_are_counted_from_the_start_of_the_log(scratch: Path) -> None:
    (scratch / "log").write_bytes(b"%0511d\n" % 0 + b"%0511d\n" % 1 + bytes(512) + b"%0511d\n" % 3)
    assert whole_records(scratch) == 2
