"""Processes known by pid *and* start time, because a pid alone may by now belong to somebody else."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from mastery.components.linux import IS_LINUX

_ZOMBIE_OR_DEAD = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good: no later process of this machine has the same four values."""

    pid: int
    started: str
    """On Linux in clock ticks since the boot, else as `ps` prints it."""
    boot: str
    pid_namespace: str
    """A pid written down inside a namespace means nothing outside of it."""

    def encode(self) -> str:
        return f"{self.pid} {self.boot} {self.pid_namespace} {self.started}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """The inverse of `encode`; ValueError for anything else."""
        pid, boot, namespace, started = text.split(" ", 3)
        return cls(int(pid), started, boot, namespace)


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    started: str


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses: count from the last one.
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[1]), fields[19])


@cache
def boot() -> str:
    """Tells this boot of this machine from every other."""
    if IS_LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
    return answer.stdout.partition("}")[0].replace(" ", "").strip("{") or "unknown"


def pid_namespace() -> str:
    """The namespace in which our pids are valid; not cached, because a fork may have moved us."""
    return str(Path("/proc/self/ns/pid").stat().st_ino) if IS_LINUX else "only"


def _started_by_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state[0] in _ZOMBIE_OR_DEAD else started.strip()


def identify(pid: int) -> Identity | None:
    """The process that has this pid now, or None: a zombie counts as gone."""
    if not IS_LINUX:
        started = _started_by_ps(pid)
        return None if started is None else Identity(pid, started, boot(), pid_namespace())
    stat = _stat(pid)
    if stat is None or stat.state in _ZOMBIE_OR_DEAD:
        return None
    return Identity(pid, stat.started, boot(), pid_namespace())


def myself() -> Identity:
    found = identify(os.getpid())
    assert found is not None, "a running process finds itself"
    return found


def is_alive(process: Identity) -> bool:
    """Whether exactly this process still runs; False for one of another boot or another pid namespace."""
    return identify(process.pid) == process


def send(process: Identity, number: signal.Signals) -> bool:
    """Signals exactly this process; False when it is gone or not ours to signal."""
    try:
        if not IS_LINUX:
            if is_alive(process):
                os.kill(process.pid, number)
                return True
            return False
        handle = os.pidfd_open(process.pid)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        # The handle holds on to whatever has the pid now; if that is our process, it stays our process.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def wait_until_gone(processes: Iterable[Identity], *, timeout_s: float) -> tuple[Identity, ...]:
    """Those that are still alive when `timeout_s` is over; returns as soon as none is."""
    deadline = time.monotonic() + timeout_s
    left = tuple(processes)
    while left := tuple(each for each in left if is_alive(each)):
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return left
        _wait_for_exit(left[0], timeout_s=min(remaining_s, 0.2))
    return ()


def _wait_for_exit(process: Identity, *, timeout_s: float) -> None:
    if not IS_LINUX:
        time.sleep(min(timeout_s, 0.02))
        return
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        select.select([handle], [], [], timeout_s)
    finally:
        os.close(handle)


def everyone() -> Iterator[int]:
    """All pids visible from here; empty where there is no /proc."""
    if IS_LINUX:
        yield from (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal())


def descendants(pid: int) -> tuple[Identity, ...]:
    """Children, their children and so on, parents first."""
    children: dict[int, list[int]] = {}
    for each in everyone():
        stat = _stat(each)
        if stat is not None:
            children.setdefault(stat.parent, []).append(each)
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children.get(parent, [])]
        found += level
    return tuple(identity for each in found if (identity := identify(each)) is not None)


def kill_family(process: Identity, *, timeout_s: float) -> tuple[Identity, ...]:
    """SIGKILL for a process and all below it, the process first so that it starts no new ones; who is left is returned."""
    family = (process, *descendants(process.pid)) if is_alive(process) else ()
    for each in family:
        send(each, signal.SIGKILL)
    return wait_until_gone(family, timeout_s=timeout_s)
