import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crash_kit import lost, processes_that_mention, wait_until, write_writers
from test_power_cut import RUN

from mastery.components import uml_cut
from mastery.components.component import Here, Missing
from mastery.components.crash_places import Cut
from mastery.components.power_cut import Moment, Since, WriterCall, run_and_cut
from mastery.components.uml_cut import UmlCut
from mastery.components.writer_process import SEARCH
from mastery.errors import DomainError

needs_uml = pytest.mark.skipif(uml_cut.find_program("linux.uml") is None, reason="user-mode Linux is not installed")


@pytest.fixture
def writers(tmp_path: Path) -> str:
    return write_writers(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_folder_that_the_command_line_of_a_kernel_cannot_hold_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uml_cut, "find_program", lambda name: f"/usr/bin/{name}")
    found = UmlCut().find(tmp_path / "with a space")
    assert isinstance(found, Missing)
    assert "with a space" in found.reason


@pytest.mark.parametrize("absent", ["linux.uml", "e2fsck", "debugfs", "mkfs.ext4"])
def test_a_program_that_is_absent_is_named_with_its_package(absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml_cut, "find_program", lambda name: None if name == absent else f"/usr/bin/{name}")
    found = UmlCut().find(tmp_path)
    assert isinstance(found, Missing)
    assert absent in found.reason and "apt install" in found.remedy


def test_the_disk_of_the_guest_never_hides_what_the_guest_has_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("/mnt/scratch", "/media/me/scratch", "/tmp/scratch"):
        point = uml_cut._mount_point(Path(folder))
        assert not Path(folder).is_relative_to(point)
        assert point.is_dir()


REFUSED = """
import ctypes, errno, os
from mastery.components.uml_launch import refuse_extended_state
refuse_extended_state()
libc = ctypes.CDLL(None, use_errno=True)
def failure(request):
    return errno.errorcode[ctypes.get_errno()] if libc.ptrace(request, 1, 0x202, None) else "none"
print(failure(0x4204), failure(7), os.getpid() > 0)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter is for the registers of one processor family")
def test_the_filter_refuses_one_request_of_ptrace_and_nothing_else() -> None:
    command = [sys.executable, "-c", REFUSED]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": SEARCH}, capture_output=True, text=True, check=True)
    assert done.stdout == "EIO ESRCH True\n"


@needs_uml
@pytest.mark.slow
def test_the_cut_is_found_by_booting_once_and_leaves_nothing(scratch: Path) -> None:
    assert isinstance(UmlCut().find(scratch), Here)
    assert list(scratch.iterdir()) == []
    wait_until(lambda: processes_that_mention(str(scratch)) == [], "a process of the machine lives on")


@needs_uml
@pytest.mark.slow
@pytest.mark.parametrize(("every", "most"), [(1, 0), (16, 15)])
def test_a_kernel_that_is_killed_loses_at_most_what_the_policy_leaves_open(
    scratch: Path, writers: str, every: int, most: int
) -> None:
    for phase_s in (0.05, 0.11):
        with run_and_cut(
            UmlCut(), WriterCall(f"{writers}:append", {"every": every}), Moment(phase_s, at_least=20), folder=scratch
        ) as after:
            assert lost(after) <= most
            assert after.late == ()


@needs_uml
@pytest.mark.slow
def test_a_kernel_that_is_killed_loses_what_was_never_flushed(scratch: Path, writers: str) -> None:
    with run_and_cut(UmlCut(), WriterCall(f"{writers}:append", {"every": 0}), Moment(0.1, at_least=100), folder=scratch) as after:
        assert lost(after) >= 0.9 * len(after.acknowledged_since_journal_write) > 0


@needs_uml
@pytest.mark.slow
@pytest.mark.parametrize(("flush", "found"), [(True, b"new" * 1000), (False, b"old")])
def test_a_rename_survives_the_cut_of_a_kernel_only_with_its_flushes(
    scratch: Path, writers: str, flush: bool, found: bytes
) -> None:
    call = WriterCall(f"{writers}:rename", {"flush": flush}, prepare=f"{writers}:old_content")
    with run_and_cut(UmlCut(), call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.folder / "config").read_bytes() == found


@needs_uml
@pytest.mark.slow
def test_a_writer_that_fails_inside_the_machine_is_told_outside(scratch: Path, writers: str) -> None:
    with pytest.raises(DomainError, match="upside down"):  # noqa: SIM117
        with run_and_cut(UmlCut(), WriterCall(f"{writers}:fail"), Moment(20), folder=scratch):
            pass
    assert list(scratch.iterdir()) == []


@needs_uml
@pytest.mark.slow
def test_a_mount_option_that_the_guest_refuses_is_told_outside(scratch: Path) -> None:
    found = UmlCut(options=("no_such_option",)).find(scratch)
    assert isinstance(found, Missing)
    assert "Invalid argument" in found.reason


@needs_uml
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["engine", "tracer"])
def test_no_process_of_the_machine_outlives_its_engine_or_its_tracer(scratch: Path, writers: str, victim: str) -> None:
    command = [sys.executable, "-c", RUN, Cut.EXT4, "1", writers, str(scratch)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": SEARCH}, stderr=subprocess.DEVNULL) as engine:
        # The tracer, two threads of its own, a guest process and its watcher, besides ours outside.
        wait_until(lambda: len(processes_that_mention(f"{scratch}/cut-")) >= 5, "the machine never ran")
        if victim == "engine":
            engine.send_signal(signal.SIGKILL)
        else:
            os.kill(min(processes_that_mention(f"{scratch}/cut-")), signal.SIGKILL)
    wait_until(lambda: processes_that_mention(str(scratch)) == [], "a process of the machine lives on")


@needs_uml
@pytest.mark.slow
@pytest.mark.root
def test_an_ordinary_user_can_cut_the_power_of_a_machine_of_his_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    subprocess.run(["cp", "-r", SEARCH, str(home)], check=True)
    (home / "scratch").mkdir()
    writers = write_writers(home)
    program = f"""
import os
from pathlib import Path
from mastery.components.power_cut import Moment, WriterCall, run_and_cut
from mastery.components.crash_places import Cut, find_place
scratch = Path("{home}/scratch")
place, found = find_place(Cut.EXT4, scratch)
with run_and_cut(place, WriterCall("{writers}:append", {{"every": 1}}), Moment(0.05, at_least=20), folder=scratch) as after:
    kept = (after.folder / "log").stat().st_size // 512
    print(os.getuid(), place.kind, len(after.acknowledged) >= 20, kept >= len(after.acknowledged))
"""
    subprocess.run(["chown", "-R", "1001:1001", str(home)], check=True)
    for each in [home, *home.parents]:
        if each != Path("/") and each != Path("/tmp"):
            each.chmod(each.stat().st_mode | 0o055)
    done = subprocess.run(
        ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", "/usr/bin/python3", "-c", program],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1001 power cut (user-mode Linux killed, ext4) True True\n", done.stderr
