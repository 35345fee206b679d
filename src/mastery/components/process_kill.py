"""The kill of the writer's process: what write() returned for is in the page cache and survives. No power cut."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mastery.components.component import Here, Missing
from mastery.components.power_cut import Stage, WriterCall
from mastery.components.writer_process import WriterProcess, place_folder


class ProcessKill:
    """SIGKILL of the writer; to be had everywhere."""

    @property
    def kind(self) -> str:
        return "process kill"

    @property
    def models(self) -> str:
        return "the death of the process; the page cache of the kernel survives it"

    def find(self, folder: Path) -> Here | Missing:
        if not folder.is_dir():
            return Missing(f"The folder {folder} does not exist.", "Choose a folder with `--on disk=FOLDER`.")
        return Here(how="SIGKILL")

    def prepare(self, folder: Path) -> AbstractContextManager[Stage]:
        return _prepared(folder)


@contextmanager
def _prepared(folder: Path) -> Iterator[Stage]:
    with place_folder(folder) as path:
        stage = _KillStage(path)
        try:
            yield stage
        finally:
            stage.cut()


class _KillStage:
    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._data.mkdir()
        self._writer = WriterProcess(folder)

    @property
    def instant(self) -> bool:
        return True

    def start(self, call: WriterCall) -> int:
        return self._writer.start(call, self._data, flush=False)

    def cut(self) -> None:
        self._writer.kill()

    def recover(self) -> Path:
        return self._data

    def diagnosis(self) -> str:
        return self._writer.diagnosis()
