"""A small process that outlives the main process of a run by a moment, to clear what a kill left behind."""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mastery.components import forking
from mastery.components.run_folder import Chosen, RunFolder, make_run_folder

_CLEARED = b"cleared"


@dataclass(frozen=True, slots=True)
class Watcher:
    """The main process's end: `line` is a pipe that must be open in no other process, for its end is the alarm."""

    pid: int
    line: int

    def dismiss(self) -> None:
        """Says that everything is cleared already, and waits for the watcher to end."""
        # If somebody killed the watcher nothing is lost: the main process has cleared up by itself.
        with suppress(BrokenPipeError):
            os.write(self.line, _CLEARED)
        os.close(self.line)
        os.waitpid(self.pid, 0)


def watch(run: RunFolder, *, held: Iterable[int] = ()) -> Watcher:
    """Starts the watcher; `held` are descriptors that it must not keep open, beyond those of the terminal."""
    listens, line = os.pipe()
    closed = (line, *held)
    pid = forking.fork(lambda: _stand_guard(run, listens, closed))
    os.close(listens)
    return Watcher(pid, line)


@contextmanager
def guarded_folder(runs: Path, name: str, *, on: Path | None = None, chosen: Chosen | None = None) -> Iterator[RunFolder]:
    """The folders of something short, such as a look around before a run: gone at the end, and gone when we are killed.

    The caller must be single-threaded. Raises as `make_run_folder` does.
    """
    with make_run_folder(runs, name, on=on, chosen=chosen) as folder:
        watcher = watch(folder)
        try:
            yield folder
        finally:
            folder.clear()
            watcher.dismiss()


def _stand_guard(run: RunFolder, listens: int, closed: Iterable[int]) -> int:
    # Out of the terminal's reach: neither its Ctrl-C nor its hang-up may end the one who clears up afterwards.
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # A reader of the run's output (`mastery run | cat`) waits until the last copy of it is closed.
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for descriptor in {nothing, *closed} - {0, 1, 2}:
        os.close(descriptor)
    os.chdir("/")
    heard = b""
    while True:
        select.select([listens], [], [])
        words = os.read(listens, 64)
        if not words:
            break
        heard += words
    if heard != _CLEARED:
        run.clear()
    return 0
