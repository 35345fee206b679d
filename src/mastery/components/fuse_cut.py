"""The power cut on a modelled device: a file system of ours in user space that forgets what was not flushed. No root."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mastery.components import fuse_server
from mastery.components.component import Here, Missing
from mastery.components.loop_disk import find_program
from mastery.components.modelled_disk import recover
from mastery.components.power_cut import Moment, Stage, WriterCall, run_and_cut
from mastery.components.writer_process import SEARCH, WriterProcess, place_folder
from mastery.errors import DomainError, MachineCannot

_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class FuseCut:
    """SIGKILL for the server of a FUSE file system that holds unflushed writes in its memory."""

    @property
    def kind(self) -> str:
        return "power cut (modelled device, FUSE)"

    @property
    def models(self) -> str:
        return "the loss of everything unflushed by a device that is itself a model, not of the drive's own cache"

    def find(self, folder: Path) -> Here | Missing:
        if importlib.util.find_spec("mfusepy") is None:
            return Missing("The library mfusepy is not installed.", "pip install 'backend-mastery[fuse]'")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return Missing("/dev/fuse cannot be opened by this user.", "Ask for read and write access to /dev/fuse.")
        if find_program("fusermount3") is None:
            return Missing("fusermount3 is not installed.", "Install the package fuse3 (apt install fuse3).")
        try:
            with run_and_cut(self, WriterCall(f"{__name__}:write_nothing"), Moment(0), folder=folder, patience_s=_PATIENCE_S):
                return Here(how="tried: mounted, cut, read")
        except (DomainError, MachineCannot) as problem:
            return Missing(f"FUSE does not work here: {problem.message}", "Use another cut.")

    def prepare(self, folder: Path) -> AbstractContextManager[Stage]:
        return _prepared(folder)


def write_nothing(folder: Path, acknowledge: object) -> None:
    """The writer of the trial."""
    del folder, acknowledge


@contextmanager
def _prepared(folder: Path) -> Iterator[Stage]:
    with place_folder(folder) as path:
        stage = _FuseStage(path)
        try:
            yield stage
        finally:
            stage.cut()


class _FuseStage:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._point, self._platters, self._found = folder / "mount", folder / "platters", folder / "found"
        for each in (self._point, self._platters, self._found):
            each.mkdir()
        self._writer = WriterProcess(folder)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def instant(self) -> bool:
        return True

    def start(self, call: WriterCall) -> int:
        with (self._folder / "server.log").open("wb") as words:
            self._server = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", fuse_server.__name__, str(self._point), str(self._platters), str(os.getpid())),
                    str(find_program("fusermount3")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                cwd="/",
                env=os.environ | {"PYTHONPATH": SEARCH},
            )
        self._wait_until_mounted(self._server)
        return self._writer.start(call, self._point, flush=True)

    def cut(self) -> None:
        # The device first: nothing that the writer calls from here on can succeed.
        if self._server is not None and self._server.returncode is None:
            self._server.kill()
            self._server.wait()
        self._writer.kill()
        self._unmount()

    def recover(self) -> Path:
        recover(self._platters, self._found)
        return self._found

    def diagnosis(self) -> str:
        with contextlib.suppress(OSError):
            return f"{self._writer.diagnosis()} {(self._folder / 'server.log').read_text(errors='replace')}".strip()[-500:]
        return ""

    def _wait_until_mounted(self, server: "subprocess.Popen[bytes]") -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self._mounted():
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise DomainError(f"The modelled device was not mounted. {self.diagnosis()}", remedy="Use another cut.")
            time.sleep(0.005)

    def _mounted(self) -> bool:
        try:
            return self._point.stat().st_dev != self._folder.stat().st_dev
        except OSError:  # the server is dead, its mount is not gone yet
            return True

    def _unmount(self) -> None:
        """The server's own guard does it when the server dies; the folder can be removed only after that."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while self._mounted():
            if time.monotonic() > deadline_s:
                raise MachineCannot(f"{self._point} stays mounted.", remedy=f"Unmount it: fusermount3 -u -z {self._point}")
            time.sleep(0.005)
