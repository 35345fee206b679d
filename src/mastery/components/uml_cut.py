"""The power cut without root: a Linux kernel as an ordinary process (user-mode Linux) with a disk in a file, and SIGKILL for it.

The writer runs inside, with this machine's files as a read-only root; its acknowledgements leave over a serial line that
ends in a pipe of ours. After the cut the journal is replayed in the image itself (e2fsck) and the files are read out of
it (debugfs), so no second boot is needed. Everything runs as the user. It is slow: for loss, never for timing.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mastery.components import uml_guest, uml_launch
from mastery.components.component import Here, Missing
from mastery.components.loop_disk import IMAGE_BYTES, FileSystem, find_program
from mastery.components.power_cut import Moment, Stage, WriterCall, run_and_cut
from mastery.components.writer_process import SEARCH, place_folder, specification
from mastery.errors import DomainError, MachineCannot

_PROGRAMS = {"linux.uml": "user-mode-linux", "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "debugfs": "e2fsprogs"}
_MEMORY = "256M"


@dataclass(frozen=True, slots=True)
class UmlCut:
    """A whole kernel that loses its power; `options` are ext4's mount options inside it."""

    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return f"power cut (user-mode Linux killed, {' '.join(('ext4', *self.options))})"

    @property
    def models(self) -> str:
        return "the loss of a whole kernel with its page cache, not of the drive's own cache"

    def find(self, folder: Path) -> Here | Missing:
        for program, package in _PROGRAMS.items():
            if find_program(program) is None:
                return Missing(f"{program} is not installed.", f"Install the package {package} (apt install {package}).")
        if awkward := [each for each in (str(folder), SEARCH, sys.executable) if not re.fullmatch(r"[\w./+@~-]+", each)]:
            reason = f"The kernel's command line cannot hold the path {awkward[0]!r}."
            return Missing(reason, "Choose a folder without spaces with `--on disk=FOLDER`.")
        try:
            with run_and_cut(self, WriterCall(f"{__name__}:write_nothing"), Moment(0), folder=folder, patience_s=30):
                return Here(how="tried: booted, cut, read", version=_version())
        except (DomainError, MachineCannot) as problem:
            return Missing(f"User-mode Linux does not run here: {problem.message}", "Use the power cut as root instead.")
        except OSError as problem:
            return Missing(f"User-mode Linux cannot be started in {folder}: {problem}.", "Choose a folder with `--on disk=FOLDER`.")

    def prepare(self, folder: Path) -> AbstractContextManager[Stage]:
        return _prepared(folder, self)


def write_nothing(folder: Path, acknowledge: object) -> None:
    """The writer of the trial boot."""
    del folder, acknowledge


@contextmanager
def _prepared(folder: Path, place: UmlCut) -> Iterator[Stage]:
    with place_folder(folder) as path:
        stage = _UmlStage(path, place)
        try:
            yield stage
        finally:
            stage.cut()


class _UmlStage:
    def __init__(self, folder: Path, place: UmlCut) -> None:
        self._folder = folder
        self._options = place.options
        self._machine: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        with (folder / "disk").open("wb") as image:
            image.truncate(IMAGE_BYTES)
        FileSystem.EXT4.make(str(folder / "disk"))

    @property
    def instant(self) -> bool:
        return True

    def start(self, call: WriterCall) -> int:
        reading, writing = os.pipe()
        watched, self._lifeline = os.pipe()
        try:
            with (self._folder / "console.log").open("wb") as console:
                self._machine = subprocess.Popen(
                    self._command(call, writing, watched),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    pass_fds=(writing, watched),
                    cwd=self._folder,
                    start_new_session=True,
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            os.close(watched)
        return reading

    def cut(self) -> None:
        if self._machine is None:
            self._let_go()
            return
        with contextlib.suppress(ProcessLookupError):
            # The group keeps its id until its leader is reaped below, so this cannot hit a stranger.
            if self._machine.returncode is None:
                os.killpg(self._machine.pid, signal.SIGKILL)
        self._let_go()
        self._machine.wait()

    def _let_go(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def recover(self) -> Path:
        image, found = str(self._folder / "disk"), self._folder / "found"
        found.mkdir()
        checked = _run("e2fsck", "-y", "-E", "journal_only", image)
        if checked.returncode not in {0, 1}:  # 1: corrected, which is what a replay is
            raise DomainError(f"The journal cannot be replayed: {_words(checked)}", remedy="Cut again; the image is lost.")
        read = _run("debugfs", "-R", f"rdump / {found}", image)
        if read.returncode != 0:
            raise DomainError(f"The image cannot be read: {_words(read)}", remedy="Cut again; the image is lost.")
        return found

    def diagnosis(self) -> str:
        with contextlib.suppress(OSError):
            # What follows a panic is the kernel's stack, which says nothing to a reader.
            console = (self._folder / "console.log").read_text(errors="replace").partition("\nCPU:")[0]
            return console.strip()[-500:]
        return ""

    def _command(self, call: WriterCall, channel: int, lifeline: int) -> list[str]:
        inside = _mount_point(self._folder)
        options = {"options": ",".join(self._options)}
        spec = specification(
            call, inside, {"terminal": "/dev/ttyS0"}, flush=True, journal=Path("/proc/fs/jbd2/ubda-8/info"), more=options
        )
        (self._folder / "writer.json").write_text(spec)
        refuse = "amx_tile" in _processor_flags()
        environment = {"PYTHONPATH": SEARCH} | (uml_launch.guest_environment() if refuse else {})
        return [
            *(sys.executable, "-P", uml_launch.__file__, str(lifeline), "refuse" if refuse else "keep"),
            *(
                str(find_program("linux.uml")),
                f"mem={_MEMORY}",
                "root=/dev/root",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "quiet",
            ),
            *(f"init={sys.executable}", "ubd0=disk", "uml_dir=.", "con=null", "con0=null,fd:1", f"ssl0=null,fd:{channel}"),
            *(f"{key}={value}" for key, value in environment.items()),
            *("--", "-P", "-m", uml_guest.__name__, str(self._folder / "writer.json")),
        ]


def _mount_point(folder: Path) -> Path:
    """An empty-handed folder of every Linux that the disk can cover inside, without hiding what the guest has to read."""
    needed = [folder, Path(SEARCH), Path(sys.prefix), Path(sys.base_prefix)]
    for point in map(Path, ("/mnt", "/media", "/srv", "/opt")):
        if point.is_dir() and not any(each.is_relative_to(point) for each in needed):
            return point
    raise MachineCannot("No folder is free to mount the guest's disk on.", remedy="Create an empty folder /mnt.")


def _processor_flags() -> set[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split())
    return set()


def _version() -> str:
    return _run("linux.uml", "--version").stdout.strip()


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = find_program(program)
    assert path is not None, "prepare() made the image with the tools that find() saw"
    return subprocess.run([path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def _words(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stdout + done.stderr).strip()[-300:]
