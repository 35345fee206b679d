"""Encloses a run: everything it starts lives below one process, and dies at once when any process above it dies.

    main process     started by the user; waits, holds the run's lock, clears up at the end
    ├── watcher      in a session of its own; clears up when the main process was killed
    └── holder       leaves the user's namespaces for a pid and a mount namespace of the run
        └── init     process 1 in there: when it ends, the kernel kills everybody inside and drops the mounts
            └── run process    does the work: forks the workers, starts the servers

The kernel kills each when the one above it dies. Where it grants no namespaces the tether does what it can: the holder
adopts and kills orphans, and the watcher kills what was written down in the run's folder.
"""

import os
import signal
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from mastery.components import belongings, forking, linux, processes
from mastery.components.belongings import Kind
from mastery.components.forking import Tether
from mastery.components.run_folder import RunFolder
from mastery.components.watcher import watch

_RELAYED = (signal.SIGTERM, signal.SIGHUP)
_STATUS = struct.Struct("i")
_SECONDS_FOR_A_PROBE = 5
_SECONDS_OF_ONE_WISH = 5.0


class Enclosure(StrEnum):
    """How a run is held together; for `doctor` and the machine's record."""

    NAMESPACES = "namespaces"
    USER_NAMESPACES = "user namespaces"
    TETHER = "tether"


@cache
def available() -> Enclosure:
    """The tightest enclosure that this machine grants us, found by trying it once in a child."""
    if not linux.IS_LINUX:
        return Enclosure.TETHER
    kinds = [Enclosure.NAMESPACES] if os.geteuid() == 0 else []
    return next((kind for kind in (*kinds, Enclosure.USER_NAMESPACES) if _can_enter(kind)), Enclosure.TETHER)


def _can_enter(kind: Enclosure) -> bool:
    def init(_tether: Tether) -> int:
        _mount_own_kernel_folders()
        return 0

    def holder(tether: Tether) -> int:
        signal.alarm(_SECONDS_FOR_A_PROBE)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 2)
        _enter(kind)
        tether.fasten()
        pid, _ = forking.fork_tethered(init)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    pid, line = forking.fork_tethered(holder)
    status = os.waitpid(pid, 0)[1]
    os.close(line)
    return status == 0


def _enter(kind: Enclosure) -> None:
    if kind is Enclosure.TETHER:
        if linux.IS_LINUX:
            linux.adopt_orphans()
        return
    # The shared memory of a killed server would outlive it, were it not the namespace's.
    flags = linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWIPC
    if kind is Enclosure.USER_NAMESPACES:
        user, group = os.geteuid(), os.getegid()
        linux.unshare(flags | linux.CLONE_NEWUSER)
        linux.map_one_user(inside_user=user, inside_group=group, outside_user=user, outside_group=group)
    else:
        linux.unshare(flags)
    # Slave, not private: our mounts stay inside, yet a disk that the user unmounts outside is not kept busy by us.
    linux.mount("none", Path("/"), "none", linux.MS_REC | linux.MS_SLAVE)


def _mount_own_kernel_folders() -> None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - the kernel's name for it
    if shared_memory.is_dir():
        linux.mount("tmpfs", shared_memory, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options="mode=1777")
    linux.mount("proc", Path("/proc"), "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def enclose(main: Callable[[], int], *, run: RunFolder, held: Iterable[int] = (), kind: Enclosure | None = None) -> int:
    """Runs `main` enclosed and waits for it; afterwards nothing of the run is left, and its folders are gone.

    Returns what `main` returned, or minus the signal that ended it. Ctrl-C reaches `main` as KeyboardInterrupt, and so
    do SIGTERM and SIGHUP, once. The caller must be single-threaded; `held` are its descriptors that must end with it
    (the machine's lock).
    """
    kind = kind or available()
    # Until every process has set up its handlers, a signal waits: none may be lost or meet a half-made family.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RELAYED)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_RELAYED)}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        watcher = watch(run, held=held)
        answers, answer_line = os.pipe()
        only_here = (watcher.line, run.lock, answers, *held)
        holder, life_line = forking.fork_tethered(
            lambda tether: _Holder(main, run, kind, answer_line, handlers).hold(tether, only_here)
        )
        os.close(answer_line)
        _relay_to(holder)
        status = os.waitpid(holder, 0)[1]
        answer = os.read(answers, _STATUS.size)
        os.close(answers)
        os.close(life_line)
        run.clear()
        watcher.dismiss()
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _RELAYED)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return os.waitstatus_to_exitcode(_STATUS.unpack(answer)[0] if len(answer) == _STATUS.size else status)


def _relay_to(pid: int) -> None:
    def relay(_number: int, _frame: FrameType | None) -> None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return

    for number in _RELAYED:
        # Below `nohup` a hang-up stays ignored. From a terminal it reaches the run process twice, which heeds it once.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, relay)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _RELAYED)


class _Holder:
    """The three processes between the main process and the run's work, as they come to be by forking."""

    def __init__(
        self,
        main: Callable[[], int],
        run: RunFolder,
        kind: Enclosure,
        answer_line: int,
        handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], Any] | int | None],
    ) -> None:
        self._main = main
        self._run = run
        self._kind = kind
        self._answer_line = answer_line
        self._handlers = handlers

    def hold(self, tether: Tether, only_outside: Iterable[int]) -> int:
        for descriptor in only_outside:
            os.close(descriptor)
        self._record(os.getpid())
        _enter(self._kind)
        # A change of credentials may make the kernel forget whose death is ours; asking again costs nothing.
        tether.fasten()
        if self._kind is Enclosure.TETHER:
            return self._wait_for_run(tether)
        may_start, start_line = os.pipe()
        os.close(tether.reads)
        init, life_line = forking.fork_tethered(lambda own: self._be_init(own, may_start, start_line))
        # Written down before it replaces /proc, which the holder shares with it and needs for the start time.
        self._record(init)
        os.close(may_start)
        os.close(start_line)
        _relay_to(init)
        status = os.waitpid(init, 0)[1]
        if status:
            # Killed before it could tell how the run process ended: then this is how the run ended.
            os.write(self._answer_line, _STATUS.pack(status))
        os.close(life_line)
        return 0

    def _record(self, pid: int) -> None:
        identity = processes.identify(pid)
        if identity is not None:
            belongings.record(self._run.folder, Kind.PROCESS, identity.encode())

    def _be_init(self, tether: Tether, may_start: int, start_line: int) -> int:
        os.close(start_line)
        os.read(may_start, 1)
        os.close(may_start)
        _mount_own_kernel_folders()
        return self._wait_for_run(tether)

    def _wait_for_run(self, tether: Tether) -> int:
        os.close(tether.reads)
        run_process, life_line = forking.fork_tethered(self._be_run_process)
        if self._kind is Enclosure.TETHER:
            self._record(run_process)
        _relay_to(run_process)
        while True:
            # Orphans of the run come to us; whoever it was, it is reaped here.
            pid, status = os.wait()
            if pid == run_process:
                break
        if self._kind is Enclosure.TETHER:
            _kill_all_below()
        os.write(self._answer_line, _STATUS.pack(status))
        os.close(life_line)
        return 0

    def _be_run_process(self, tether: Tether) -> int:
        os.close(tether.reads)
        os.close(self._answer_line)
        signal.signal(signal.SIGINT, self._handlers[signal.SIGINT] or signal.default_int_handler)
        heeded = [number for number in _RELAYED if self._handlers[number] is not signal.SIG_IGN]
        if self._handlers[signal.SIGINT] is signal.default_int_handler:
            heeded.append(signal.SIGINT)
        _interrupt_by(heeded)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _RELAYED)
        return self._main()


def _interrupt_by(numbers: Iterable[signal.Signals]) -> None:
    # A group signal arrives twice, directly and relayed, and the impatient press Ctrl-C twice: the second of them must
    # not interrupt the closing of the run.
    interrupted_s: float | None = None

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted_s
        is_first = interrupted_s is None or (number == signal.SIGINT and time.monotonic() - interrupted_s > _SECONDS_OF_ONE_WISH)
        if is_first:
            interrupted_s = time.monotonic()
            raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def _kill_all_below() -> None:
    while below := processes.descendants(os.getpid()):
        for each in below:
            processes.send(each, signal.SIGKILL)
        processes.wait_until_gone(below, timeout_s=1.0)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue
