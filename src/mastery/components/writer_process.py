"""A crash writer as a process of this machine: started in a group of its own, killed as a whole, gone with its parent."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import mastery
from mastery.components import crash_writer
from mastery.components.disk import discard
from mastery.components.power_cut import WriterCall

SEARCH = str(Path(mastery.__file__).resolve().parent.parent)


def specification(
    call: WriterCall,
    folder: Path,
    channel: dict[str, Any],
    *,
    flush: bool,
    journal: Path | None = None,
    more: dict[str, str] | None = None,
) -> str:
    """What the program in the place needs to know, as JSON."""
    return json.dumps(
        asdict(call)
        | {
            "folder": str(folder),
            "channel": channel,
            "flush": flush,
            "journal": None if journal is None else str(journal),
            "search": [each for each in sys.path if each],
        }
        | (more or {})
    )


class WriterProcess:
    """One started writer; its specification and its last words lie in `folder`, which is not the place that is cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, call: WriterCall, place: Path, *, flush: bool, journal: Path | None = None, keep: tuple[int, ...] = ()) -> int:
        """Starts it; `keep` are descriptors it needs by number. Gives the reading end of its channel."""
        reading, writing = os.pipe()
        try:
            spec = self._folder / "writer.json"
            spec.write_text(specification(call, place, {"descriptor": writing}, flush=flush, journal=journal))
            with (self._folder / "writer.log").open("wb") as words:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", crash_writer.__name__, str(spec), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    pass_fds=(writing, *keep),
                    cwd="/",
                    env=os.environ | {"PYTHONPATH": SEARCH},
                    start_new_session=True,
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return reading

    def kill(self) -> None:
        """SIGKILL for the writer and all that it started; may be called twice."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # The group keeps its id until the leader is reaped below, so this cannot hit a stranger.
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def diagnosis(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return (self._folder / "writer.log").read_text(errors="replace").strip()[-500:]
        return ""


@contextmanager
def place_folder(folder: Path) -> Iterator[Path]:
    """A private folder for one cut, discarded with its dirty pages."""
    path = Path(mkdtemp(prefix="cut-", dir=folder))
    try:
        yield path
    finally:
        discard(path)
