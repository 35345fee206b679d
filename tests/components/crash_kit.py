"""What the tests of the crash places share: writers that any of the places can import, and how to read their logs."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from mastery.components.power_cut import Aftermath

WRITERS = '''
import os

RECORD = 512

def append(folder, acknowledge, every=1, lying=False, stop_after=None):
    """Fixed records in a log; flushed each `every` records (0: never); a liar acknowledges before the flush."""
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    number = 0
    while stop_after is None or number < stop_after:
        if lying:
            acknowledge(number)
        os.write(log, b"%0511d\\n" % number)
        if every and number % every == every - 1:
            os.fdatasync(log)
        if not lying:
            acknowledge(number)
        number += 1

def old_content(folder, **arguments):
    (folder / "config").write_bytes(b"old")

def rename(folder, acknowledge, flush):
    new = os.open(folder / "config.new", os.O_CREAT | os.O_WRONLY)
    os.write(new, b"new" * 1000)
    if flush:
        os.fsync(new)
    os.close(new)
    os.rename(folder / "config.new", folder / "config")
    if flush:
        names = os.open(folder, os.O_RDONLY)
        os.fsync(names)
        os.close(names)
    acknowledge(1)

def fail(folder, acknowledge):
    acknowledge(1)
    raise ValueError("the disk of the writer\\nis upside down")

def vanish(folder, acknowledge):
    print("these are my last words", flush=True)
    os._exit(3)

def tell_where(folder, acknowledge):
    acknowledge(os.getpid())
'''


def write_writers(folder: Path) -> str:
    """The file to put before a colon and the name of a writer."""
    file = folder / "crash_writers.py"
    file.write_text(WRITERS)
    return str(file)


def whole_records(folder: Path) -> int:
    """How many records the log holds from its start; a hole, a torn record or a wrong number ends them."""
    log = folder / "log"
    data = log.read_bytes() if log.exists() else b""
    number = 0
    while data[number * 512 : number * 512 + 512] == b"%0511d\n" % number:
        number += 1
    return number


def lost(aftermath: Aftermath) -> int:
    """How many acknowledged records a reader does not find."""
    return max(0, len(aftermath.acknowledged) - whole_records(aftermath.folder))


def processes_that_mention(text: str) -> list[int]:
    """The living processes (no zombies) whose command line or working folder has the text; seen from outside of our code."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (each / "cmdline").read_bytes().decode(errors="replace")
            if text in words or text in str((each / "cwd").readlink()):
                found.append(int(each.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Looks again until it holds; the deadline is for a broken program only."""
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)
