"""Trials in forked processes of their own: one that crashes, hangs, is killed or raises voids itself, with its cause.

A fork takes about 3 ms, a spawn was seen to take 84; the run process is single-threaded so that a fork is safe.
"""

import contextlib
import os
import pickle
import select
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mastery.components.forking import Tether, fork_tethered
from mastery.errors import MasteryError
from mastery.lab.operation import VoidByRule

ASKING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Void:
    """Why a trial has no result: one sentence, the kind in front."""

    cause: str


Meanwhile = Sequence[tuple[float, Callable[[], None]]]


def in_worker(job: Callable[[], Any], *, timeout_s: float, meanwhile: Meanwhile = ()) -> Any:
    """Runs `job` in a fork and returns what it returned, or `Void` when it did not get that far.

    `meanwhile` holds what this process does while the worker works: pairs of seconds since the fork and a function, in
    order of time; what the worker does not live to see is left out. An interrupt ends the worker and is raised again.
    """
    out, into = os.pipe()
    kills_before = _out_of_memory_kills()

    # Until the worker's pid is known here, an interrupt waits: it would leave the worker behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)

    def work(_: Tether) -> int:
        os.close(out)
        # Ctrl-C reaches the whole foreground group; only the run process decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in ASKING - {signal.SIGINT}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.setpgid(0, 0)
        with os.fdopen(into, "wb") as pipe:
            pipe.write(_answer(job))
        return 0

    try:
        pid, tether = fork_tethered(work)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    os.close(into)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        packed = _read_all(out, pid, timeout_s, meanwhile)
    except BaseException:
        _end(pid)
        raise
    finally:
        os.close(out)
        os.close(tether)
    if packed is None:
        _end(pid)
        return Void(f"time-out: the trial did not end within {timeout_s:g} s")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _end_group(pid)
    if packed:
        with contextlib.suppress(pickle.UnpicklingError, EOFError):
            return pickle.loads(packed)  # noqa: S301  (written by our own fork of a moment ago)
    return Void(_cause(status, out_of_memory=_out_of_memory_kills() > kills_before))


def _answer(job: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(job())
    except VoidByRule as failure:
        return pickle.dumps(Void(f"{failure.rule}: {failure}"))
    except MasteryError as failure:
        # Our own errors say what happened; where in our code they were raised tells the reader nothing.
        return pickle.dumps(Void(failure.message.removesuffix(".")))
    except Exception as failure:
        last = traceback.extract_tb(failure.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return pickle.dumps(Void(f"raised {type(failure).__name__}: {failure} ({where})"))


def _read_all(descriptor: int, pid: int, timeout_s: float, meanwhile: Meanwhile) -> bytes | None:
    """Everything the worker wrote until it ended, or None when the time ran out first.

    The end of the pipe is not enough: what the worker has forked and left behind holds the pipe open as well.
    """
    begun = time.monotonic()
    deadline = begun + timeout_s
    due = deque(meanwhile)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    with _end_of(pid) as ended:
        if ended is not None:
            poll.register(ended, select.POLLIN)
        parts: list[bytes] = []
        while True:
            now = time.monotonic()
            if now >= deadline:
                return None
            if due and now - begun >= due[0][0]:
                due.popleft()[1]()
                continue
            until = min(deadline, begun + due[0][0]) if due else deadline
            ready = [each for each, _ in poll.poll(max(0.0, until - now) * 1000)]
            # When it has ended, all that it wrote waits in the pipe already.
            if descriptor in ready or (ready and select.select([descriptor], [], [], 0)[0]):
                part = os.read(descriptor, _READ_AT_ONCE)
                if not part:
                    return b"".join(parts)
                parts.append(part)
            elif ready:
                return b"".join(parts)


@contextlib.contextmanager
def _end_of(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends; None where the kernel has no such thing."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end_group(pid: int) -> None:
    """Ends what the worker forked and left behind; they share its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _end(pid: int) -> None:
    _end_group(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _cause(status: int, *, out_of_memory: bool) -> str:
    if status == -signal.SIGKILL:
        why = "the kernel ran out of memory and killed it" if out_of_memory else "somebody killed it"
        return f"killed by SIGKILL: {why}"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}: {signal.strsignal(-status)}"
    return f"ended with exit status {status} without a result"


def _out_of_memory_kills() -> int:
    """How many processes the kernel has killed for memory since the boot; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0
