"""A limit on processor time and memory for processes of ours, by the strongest way this machine allows.

    with limit(Limits(cpu_cores=0.2, memory_byte=64 * 2**20), run=run, name="arm3") as limited:
        limited.add(worker_pid)              # from the process that made the limit, before the worker starts its work
        ...
        limited.effect()                     # how often it was throttled, how many were killed: the manipulation check

In order: control groups (version 2 or 1, mostly root), a scope of the user's own systemd, else affinity, RLIMIT_AS and stop
signals, which are weaker and say so: memory beyond the limit is a failed allocation there, not a kill.
"""

import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mastery.components.belongings import Kind, record
from mastery.components.cgroup import ControlGroup, Effect, Throttling, group_folders, group_name, hierarchies, make_group
from mastery.errors import DomainError, MachineCannot, UsageError

SYSTEMD_S = 5.0


class Way(StrEnum):
    """How a limit is put in force, strongest first."""

    CONTROL_GROUP = "control group"
    SYSTEMD_SCOPE = "systemd scope"
    SIGNALS = "affinity, RLIMIT_AS and stop signals (weaker)"


@dataclass(frozen=True, slots=True)
class Limits:
    """`cpu_cores` may be a fraction; None leaves that resource alone."""

    cpu_cores: float | None = None
    memory_byte: int | None = None

    def __post_init__(self) -> None:
        if self.cpu_cores is None and self.memory_byte is None:
            raise UsageError("A limit that limits nothing.", remedy="Give cpu_cores, memory_byte or both.")
        if self.cpu_cores is not None and not 0.01 <= self.cpu_cores <= 1024:
            raise UsageError(f"A limit of {self.cpu_cores} cores cannot be set.", remedy="Give cpu_cores between 0.01 and 1024.")
        if self.memory_byte is not None and self.memory_byte < 2**20:
            raise UsageError(f"No program lives in {self.memory_byte} B.", remedy="Give memory_byte of at least 1048576 (1 MiB).")

    def controllers(self) -> list[str]:
        wanted = {"cpu": self.cpu_cores, "memory": self.memory_byte}
        return [controller for controller, value in wanted.items() if value is not None]


class Limited(Protocol):
    """Limits in force."""

    @property
    def way(self) -> Way: ...

    def add(self, pid: int) -> None:
        """Puts a process under the limit, before it starts its work: what it has forked already stays outside."""

    def effect(self) -> Effect:
        """What the limit is and did, read back."""

    def remove(self) -> None:
        """Lifts the limit; what still runs in a group is killed. May be called twice."""


@contextmanager
def limit(limits: Limits, *, run: str, name: str, journal: Path | None = None, way: Way | None = None) -> Iterator[Limited]:
    """Limits for the processes of one arm or trial, lifted at the end.

    `journal` is the run's folder, where the group is written down before it is made, so that a killed run's groups are
    found and removed. `way` insists on one way; without it the strongest that works is taken.
    """
    chosen = way or strongest_way(limits, run=run)
    if journal is not None and chosen is Way.CONTROL_GROUP:
        for folder in set(group_folders(run, name, limits.controllers()).values()):
            record(journal, Kind.CGROUP, str(folder))
    limited = _set_up(limits, run, name, chosen)
    try:
        yield limited
    finally:
        limited.remove()


def strongest_way(limits: Limits, *, run: str) -> Way:
    """Tried by doing, with a group of the same limits that is removed at once."""
    for way in (Way.CONTROL_GROUP, Way.SYSTEMD_SCOPE):
        with contextlib.suppress(MachineCannot):
            probe = _set_up(limits, run, "probe", way)
            try:
                if way is Way.CONTROL_GROUP or _holds_a_process(probe):
                    return way
            finally:
                probe.remove()
    return Way.SIGNALS


def _holds_a_process(limited: Limited) -> bool:
    """Whether a living process can be put in; needed where the group exists only while it is not empty."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as sleeper:
        try:
            limited.add(sleeper.pid)
        except MachineCannot:
            return False
        finally:
            sleeper.kill()
    return True


def _set_up(limits: Limits, run: str, name: str, way: Way) -> Limited:
    match way:
        case Way.CONTROL_GROUP:
            return LimitedGroup.made(limits, run, name)
        case Way.SYSTEMD_SCOPE:
            return LimitedScope.made(limits, run, name)
        case Way.SIGNALS:
            return LimitedBySignals(limits)


@dataclass(slots=True)
class LimitedGroup:
    """Limits by the kernel's control groups."""

    group: ControlGroup
    way: Way = field(default=Way.CONTROL_GROUP, init=False)

    @classmethod
    def made(cls, limits: Limits, run: str, name: str) -> "LimitedGroup":
        try:
            group = make_group(run, name, cpu_cores=limits.cpu_cores, memory_byte=limits.memory_byte)
        except OSError as error:
            raise MachineCannot(
                f"No control group can be made here: {error.strerror or error}.",
                remedy="Run as root on a machine whose cpu and memory controllers are delegated.",
            ) from error
        return cls(group)

    def add(self, pid: int) -> None:
        self.group.add(pid)

    def effect(self) -> Effect:
        return self.group.effect()

    def remove(self) -> None:
        self.group.remove()


@dataclass(slots=True)
class LimitedScope:
    """Limits by a transient scope of the user's systemd: the way of desktops and servers without root.

    The scope appears with its first process and vanishes with its last; its figures are read while one lives.
    """

    limits: Limits
    unit: str
    _folder: Path | None = None
    way: Way = field(default=Way.SYSTEMD_SCOPE, init=False)

    @classmethod
    def made(cls, limits: Limits, run: str, name: str) -> "LimitedScope":
        if shutil.which("busctl") is None:
            raise MachineCannot("There is no systemd here.", remedy="Run as root, or accept the weaker limit.")
        return cls(limits, f"{group_name(run, name)}.scope")

    def add(self, pid: int) -> None:
        if self._folder is None:
            _call_systemd("StartTransientUnit", *self.start_words(pid))
            self._folder = _folder_of_scope(pid, self.unit)
        else:
            _call_systemd("AttachProcessesToUnit", "ssau", self.unit, "", "1", str(pid))

    def start_words(self, pid: int) -> list[str]:
        """The arguments of StartTransientUnit, in busctl's notation: signature, then values."""
        properties = [["PIDs", "au", "1", str(pid)]]
        if self.limits.cpu_cores is not None:
            properties.append(["CPUQuotaPerSecUSec", "t", str(round(self.limits.cpu_cores * 1_000_000))])
        if self.limits.memory_byte is not None:
            properties.append(["MemoryMax", "t", str(self.limits.memory_byte)])
            properties.append(["MemorySwapMax", "t", "0"])
        words = [word for each in properties for word in each]
        return ["ssa(sv)a(sa(sv))", self.unit, "fail", str(len(properties)), *words, "0"]

    def effect(self) -> Effect:
        folder = self._folder
        if folder is None or not folder.is_dir():
            return Effect(None, None, None, None, None, None)
        return ControlGroup(2, {"cpu": folder, "memory": folder}).effect()

    def remove(self) -> None:
        if self._folder is not None and self._folder.is_dir():
            with contextlib.suppress(MachineCannot):
                _call_systemd("StopUnit", "ss", self.unit, "replace")
        self._folder = None


def _call_systemd(method: str, *words: str) -> None:
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    try:
        subprocess.run(
            ["busctl", "--user", "call", *manager, method, *words], check=True, capture_output=True, timeout=SYSTEMD_S, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        raise MachineCannot(
            f"The user's systemd does not answer: {said}", remedy="Run as root, or accept the weaker limit."
        ) from error


def _folder_of_scope(pid: int, unit: str) -> Path:
    """systemd answers before it has moved the process, so the move is looked for until it is seen."""
    deadline_s = time.monotonic() + SYSTEMD_S
    mount = next((each.mount for each in hierarchies() if each.version == 2), None)
    while mount is not None and time.monotonic() < deadline_s:
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, _, path = line.split(":", 2)
            if path.endswith(unit):
                return mount / path.lstrip("/")
        time.sleep(0.01)
    raise MachineCannot(f"systemd did not move the process into {unit}.", remedy="Run as root, or accept the weaker limit.")


class LimitedBySignals:
    """The weaker way: fewer cores, stop and continue in turns, and an address space that ends.

    It holds for each process added, not for their sum, and not for what they forked before.
    """

    way = Way.SIGNALS

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stoppers: list[subprocess.Popen[bytes]] = []
        self._cpu_cores: float | None = None
        self._memory_byte: int | None = None

    def add(self, pid: int) -> None:
        if self._limits.memory_byte is not None:
            resource.prlimit(pid, resource.RLIMIT_AS, (self._limits.memory_byte, self._limits.memory_byte))
            self._memory_byte = resource.prlimit(pid, resource.RLIMIT_AS)[0]
        if self._limits.cpu_cores is not None:
            self._cpu_cores = self._limit_cores(pid, self._limits.cpu_cores)

    def stoppers(self) -> tuple[int, ...]:
        """The pids of the processes that stop and continue, one for each process added."""
        return tuple(stopper.pid for stopper in self._stoppers)

    def _limit_cores(self, pid: int, cores: float) -> float:
        """Answers with the cores that are in force: affinity as the kernel tells it, times the stopper's share."""
        usable = sorted(os.sched_getaffinity(pid))
        whole = min(math.ceil(cores), len(usable))
        os.sched_setaffinity(pid, usable[:whole])
        share = min(1.0, cores / whole)
        if share < 1:
            # By its own process, because a stopped process cannot continue itself and the run must stay single-threaded.
            process = os.pidfd_open(pid)
            try:
                self._stoppers.append(
                    subprocess.Popen(
                        [sys.executable, "-P", "-m", "mastery.components.duty_cycle", str(os.getpid()), str(process), str(share)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        pass_fds=[process],
                        start_new_session=True,
                    )
                )
            finally:
                os.close(process)
        return len(os.sched_getaffinity(pid)) * share

    def effect(self) -> Effect:
        told = [_ask(stopper) for stopper in self._stoppers]
        stops = Throttling(sum(each["stops"] for each in told), sum(each["stopped_ns"] for each in told)) if told else None
        return Effect(
            cpu_cores=self._cpu_cores,
            memory_byte=self._memory_byte,
            periods=None,
            throttling=stops,
            oom_kills=None,
            memory_peak_byte=None,
        )

    def remove(self) -> None:
        for stopper in self._stoppers:
            with contextlib.suppress(OSError):
                stopper.communicate(timeout=SYSTEMD_S)
        self._stoppers.clear()


def _ask(stopper: subprocess.Popen[bytes]) -> dict[str, int]:
    assert stopper.stdin is not None and stopper.stdout is not None
    try:
        stopper.stdin.write(b"\n")
        stopper.stdin.flush()
        line = stopper.stdout.readline()
    except OSError:
        line = b""
    if not line:
        raise DomainError("The process that keeps the processor limit is gone.", remedy="Run again; this trial does not count.")
    answer: dict[str, int] = json.loads(line)
    return answer
