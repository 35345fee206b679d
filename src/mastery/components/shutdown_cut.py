"""The power cut as root: the kernel's own shutdown of a file system that lies in a file, then a mount that replays the log."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mastery.components.component import Here, Missing
from mastery.components.loop_disk import FileSystem, LoopDisk, shut_down
from mastery.components.power_cut import Stage, WriterCall
from mastery.components.writer_process import WriterProcess, place_folder
from mastery.errors import MachineCannot


@dataclass(frozen=True, slots=True)
class ShutdownCut:
    """A file system of ours, cut by the shutdown ioctl; `options` are mount options such as `noauto_da_alloc` or `commit=300`."""

    file_system: FileSystem = FileSystem.EXT4
    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return f"power cut (shutdown ioctl, {' '.join((self.file_system, *self.options))})"

    @property
    def models(self) -> str:
        return "the loss of the page cache, not of the drive's own cache"

    def find(self, folder: Path) -> Here | Missing:
        if os.geteuid() != 0:
            return Missing("The shutdown of a file system needs root.", "Run as root, or install user-mode-linux.")
        try:
            with ExitStack() as held:
                _shut_down_once(folder, self, held)
        except MachineCannot as problem:
            return Missing(problem.message, problem.remedy)
        except OSError as problem:
            reason = f"The kernel refuses a loop device, a mount or the shutdown of {self.file_system}: {problem.strerror}."
            return Missing(reason, "Run as root outside of a container, on Linux 5.8 or later.")
        return Here(how="tried: loop device, mount, shutdown", version=os.uname().release)

    def prepare(self, folder: Path) -> AbstractContextManager[Stage]:
        return _prepared(folder, self)


def _shut_down_once(folder: Path, place: ShutdownCut, held: ExitStack) -> None:
    disk = LoopDisk(folder, place.file_system)
    held.callback(disk.close)
    mount = disk.mount(place.options)
    held.callback(os.close, mount)
    shut_down(mount)


@contextmanager
def _prepared(folder: Path, place: ShutdownCut) -> Iterator[Stage]:
    with place_folder(folder) as path:
        stage = _ShutdownStage(path, place)
        try:
            yield stage
        finally:
            stage.close()


class _ShutdownStage:
    def __init__(self, folder: Path, place: ShutdownCut) -> None:
        self._options = place.options
        self._writer = WriterProcess(folder)
        self._disk = LoopDisk(folder, place.file_system)
        self._mount: int | None = None
        try:
            self._mount = self._disk.mount(self._options)
        except BaseException:
            self.close()
            raise

    @property
    def instant(self) -> bool:
        # A call that is under way when the file system is shut down may still return, even with success, although its
        # data are lost (seen: fdatasync on ext4, Linux 6.18). A machine without power returns from nothing.
        return False

    def start(self, call: WriterCall) -> int:
        assert self._mount is not None
        place = Path(f"/proc/self/fd/{self._mount}")
        return self._writer.start(call, place, flush=True, journal=self._disk.journal, keep=(self._mount,))

    def cut(self) -> None:
        assert self._mount is not None
        # The file system first: a writer that is killed first would be the lesser accident, a kill of its process.
        shut_down(self._mount)
        self._writer.kill()

    def recover(self) -> Path:
        self._unmount()
        self._disk.wait_until_unmounted()
        # Without the writer's options: they decide what was written, not how the log is replayed.
        self._mount = self._disk.mount(())
        return Path(f"/proc/self/fd/{self._mount}")

    def diagnosis(self) -> str:
        return self._writer.diagnosis()

    def close(self) -> None:
        self._writer.kill()
        self._unmount()
        self._disk.close()

    def _unmount(self) -> None:
        if self._mount is not None:
            os.close(self._mount)
            self._mount = None
