"""The program that runs inside a place that is about to die: prepare, say ready, write, and acknowledge to the outside.

It imports next to nothing beside the standard library, because it also runs in a virtual machine that boots for a second or two.
What it says goes line by line over a channel that ends outside the place: `ready`, the number of each acknowledged record,
`journal N` when the file system wrote its journal, `done`, or `failed WHY`.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
import tty
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from mastery.components import linux

_JOURNAL_INTERVAL_S = 0.005


def run(spec: Mapping[str, Any]) -> int:
    """Does what the specification says; returns only when the writer failed."""
    channel = _open_channel(spec["channel"])
    folder = Path(spec["folder"])
    try:
        sys.path[:0] = spec["search"]
        writer = load(spec["writer"])
        if spec["prepare"]:
            load(spec["prepare"])(folder, **spec["arguments"])
        if spec["flush"]:
            flush_file_system(folder)
        if spec["journal"]:
            _start_watching(Path(spec["journal"]), channel)
        os.write(channel, b"ready\n")
        writer(folder, lambda number: os.write(channel, b"%d\n" % number), **spec["arguments"])
        os.write(channel, b"done\n")
    except Exception as problem:
        os.write(channel, f"failed {type(problem).__name__}: {problem}".replace("\n", " ")[:400].encode() + b"\n")
        return 1
    # The writer's process stays alive, as a server would: its death is the cut's business.
    while True:
        signal.pause()


def load(reference: str) -> Callable[..., None]:
    """The function that `package.module:function` or `/folder/file.py:function` names."""
    module_name, _, function_name = reference.rpartition(":")
    if module_name.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(module_name).stem, module_name)
        if spec is None or spec.loader is None:
            raise ImportError(f"{module_name} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(module_name)
    return cast(Callable[..., None], getattr(module, function_name))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process as soon as its parent is gone, where the kernel offers that."""
    if linux.IS_LINUX:
        linux.signal_at_death_of_parent()
    if os.getppid() != parent:  # it died before the kernel knew our wish
        os._exit(1)


def flush_file_system(folder: Path) -> None:
    """Flushes the one file system that holds the folder; `sync` would flush those of the neighbours too."""
    # File by file first: a file system in user space hears of a flush of its files, but not of itself.
    for file in (each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)


def _open_channel(channel: Mapping[str, Any]) -> int:
    if "terminal" not in channel:
        return int(channel["descriptor"])
    terminal = os.open(channel["terminal"], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(terminal)
    return terminal


def _start_watching(journal: Path, channel: int) -> None:
    """A process of its own that reports journal writes: the writer must not pay for the watching."""
    writer = os.getpid()
    first = _journal_position(journal)
    if os.fork() != 0:
        return
    die_with_parent(writer)
    seen, writes = first, 0
    with contextlib.suppress(OSError):
        while True:
            position = _journal_position(journal)
            if position != seen:
                seen, writes = position, writes + 1
                os.write(channel, b"journal %d\n" % writes)
            time.sleep(_JOURNAL_INTERVAL_S)
    os._exit(0)


def _journal_position(journal: Path) -> str:
    """How far the journal is: the number of transactions (jbd2), or where the log's head stands (xfs)."""
    return journal.read_text().split(maxsplit=1)[0]


def main() -> int:
    """`crash_writer SPEC PARENT`: the file that holds the specification, and who started this."""
    die_with_parent(int(sys.argv[2]))
    return run(json.loads(Path(sys.argv[1]).read_text()))


if __name__ == "__main__":
    sys.exit(main())
