"""Control groups of Linux, version 1 and 2: which limits stand around this process, and groups of our own with limits in them.

A group of ours is a folder `mastery-<run>-<name>`; the name alone tells the janitor whose it is.
"""

import functools
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mastery.errors import DomainError, UsageError

PERIOD_US = 100_000  # the kernel's default: a quota is spent and given anew ten times a second
NO_LIMIT_BYTE = 1 << 62  # version 1 writes "no limit" as a number just below 2**63
REMOVAL_S = 5.0
RETRY_S = 0.005
ROOT = Path("/")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree of groups. `base` is what of the tree the mount shows: a container may see only its own branch."""

    version: int
    controllers: frozenset[str]
    mount: Path
    base: str


@dataclass(frozen=True, slots=True)
class Throttling:
    """Periods in which a quota was spent before their end, and for how long the group then stood still, in all."""

    periods: int
    stood_ns: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What a limit did so far, as the kernel (or, for the weaker way, our own stopper) counted it; None: not told.

    `cpu_cores` and `memory_byte` are read back, never remembered.
    """

    cpu_cores: float | None
    memory_byte: int | None
    periods: int | None
    throttling: Throttling | None
    oom_kills: int | None
    memory_peak_byte: int | None


@functools.cache
def hierarchies(root: Path = ROOT) -> tuple[Hierarchy, ...]:
    """The mounted trees; cached, because a mount table can be long and does not change under a run."""
    try:
        lines = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ()
    found: list[Hierarchy] = []
    for line in lines:
        before, _, after = line.partition(" - ")
        _, _, _, base, mount, *_ = before.split(" ")
        kind, _, options = after.split(" ", 2)
        folder = root / mount.lstrip("/")
        if kind == "cgroup2":
            found.append(Hierarchy(2, frozenset(_words(folder / "cgroup.controllers")), folder, base))
        elif kind == "cgroup":
            found.append(Hierarchy(1, frozenset(options.split(",")), folder, base))
    return tuple(found)


def own_folder(controller: str, *, root: Path = ROOT) -> tuple[Hierarchy, Path] | None:
    """The group of this process in the tree that governs `controller`; the tree's top where ours is not visible."""
    hierarchy = next((each for each in hierarchies(root) if controller in each.controllers), None)
    if hierarchy is None:
        return None
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if (hierarchy.version == 2 and not controllers) or (hierarchy.version == 1 and controller in controllers.split(",")):
            below = path.removeprefix(hierarchy.base) if hierarchy.base != "/" else path
            folder = hierarchy.mount / below.lstrip("/")
            return hierarchy, folder if folder.is_dir() else hierarchy.mount
    return hierarchy, hierarchy.mount


def ambient_limits(*, root: Path = ROOT) -> tuple[float | None, int | None]:
    """Cores and bytes that the groups around this process allow: the tightest of all levels; None for no limit."""
    cores = [
        value for hierarchy, folder in _levels("cpu", root) if (value := cpu_limit(folder, version=hierarchy.version)) is not None
    ]
    byte = [
        value
        for hierarchy, folder in _levels("memory", root)
        if (value := memory_limit(folder, version=hierarchy.version)) is not None
    ]
    return min(cores, default=None), min(byte, default=None)


def ambient_throttling(*, root: Path = ROOT) -> Throttling | None:
    """Over all levels, because a quota counts where it was set, not where the process is."""
    levels = [throttling(folder) for _, folder in _levels("cpu", root)]
    told = [each for each in levels if each is not None]
    return Throttling(sum(each.periods for each in told), sum(each.stood_ns for each in told)) if told else None


def _levels(controller: str, root: Path) -> Iterator[tuple[Hierarchy, Path]]:
    """From our own group to the top of what is mounted."""
    own = own_folder(controller, root=root)
    if own is None:
        return
    hierarchy, folder = own
    while True:
        yield hierarchy, folder
        if folder == hierarchy.mount:
            return
        folder = folder.parent


def cpu_limit(folder: Path, *, version: int) -> float | None:
    """In cores."""
    if version == 2:
        match _words(folder / "cpu.max"):
            case [quota, period] if quota != "max":
                return int(quota) / int(period)
        return None
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us is not None and period_us and quota_us > 0 else None


def memory_limit(folder: Path, *, version: int) -> int | None:
    byte = _number(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
    return byte if byte is not None and byte < NO_LIMIT_BYTE else None


def throttling(folder: Path) -> Throttling | None:
    """Both versions write `cpu.stat`; version 1 counts nanoseconds, version 2 microseconds."""
    told = _table(folder / "cpu.stat")
    if "nr_throttled" not in told:
        return None
    stood_ns = told["throttled_time"] if "throttled_time" in told else told.get("throttled_usec", 0) * 1000
    return Throttling(told["nr_throttled"], stood_ns)


@dataclass(slots=True)
class ControlGroup:
    """A group of ours: one folder a controller in version 1, one for all in version 2."""

    version: int
    folders: dict[str, Path]

    def add(self, pid: int) -> None:
        """Moves a process in; what it forks from now on is in as well."""
        for folder in set(self.folders.values()):
            _write(folder / "cgroup.procs", str(pid))

    def effect(self) -> Effect:
        cpu, memory = self.folders.get("cpu"), self.folders.get("memory")
        return Effect(
            cpu_cores=cpu_limit(cpu, version=self.version) if cpu else None,
            memory_byte=memory_limit(memory, version=self.version) if memory else None,
            periods=_table(cpu / "cpu.stat").get("nr_periods") if cpu else None,
            throttling=throttling(cpu) if cpu else None,
            oom_kills=oom_kills(memory, version=self.version) if memory else None,
            memory_peak_byte=_number(memory / ("memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"))
            if memory
            else None,
        )

    def remove(self) -> None:
        """Kills what is still inside and removes the folders; may be called twice."""
        for folder in set(self.folders.values()):
            remove_group(folder)


def oom_kills(folder: Path, *, version: int) -> int | None:
    return _table(folder / ("memory.events" if version == 2 else "memory.oom_control")).get("oom_kill")


def make_group(run: str, name: str, *, cpu_cores: float | None, memory_byte: int | None, root: Path = ROOT) -> ControlGroup:
    """Raises OSError where this process may not, or where the controllers are not given to us."""
    wanted = {"cpu": cpu_cores, "memory": memory_byte}
    controllers = [controller for controller, value in wanted.items() if value is not None]
    folders = group_folders(run, name, controllers, root=root)
    if len(folders) < len(controllers):
        raise FileNotFoundError(f"no tree of control groups has the controllers {', '.join(set(controllers) - set(folders))}")
    version = next(each.version for each in hierarchies(root) if controllers[0] in each.controllers)
    group = ControlGroup(version, folders)
    try:
        for folder in set(folders.values()):
            folder.mkdir(mode=0o755)
        _limit_cpu(group, cpu_cores)
        _limit_memory(group, memory_byte)
    except OSError:
        group.remove()
        raise
    return group


def group_folders(run: str, name: str, controllers: list[str], *, root: Path = ROOT) -> dict[str, Path]:
    """Where a group would lie, by controller; those that no tree has are left out."""
    folders: dict[str, Path] = {}
    for controller in controllers:
        own = own_folder(controller, root=root)
        if own is not None:
            hierarchy, folder = own
            # Version 2 lets no group hold both processes and limited children, so ours hangs from the top of the tree;
            # version 1 does, and hanging from our own group keeps us inside the limits that a container set.
            folders[controller] = (hierarchy.mount if hierarchy.version == 2 else folder) / group_name(run, name)
    return folders


def _limit_cpu(group: ControlGroup, cores: float | None) -> None:
    if cores is None:
        return
    folder, quota_us = group.folders["cpu"], round(cores * PERIOD_US)
    if group.version == 2:
        _write(folder / "cpu.max", f"{quota_us} {PERIOD_US}")
    else:
        _write(folder / "cpu.cfs_period_us", str(PERIOD_US))
        _write(folder / "cpu.cfs_quota_us", str(quota_us))


def _limit_memory(group: ControlGroup, byte: int | None) -> None:
    if byte is None:
        return
    folder = group.folders["memory"]
    # Without a limit on swap the kernel would page out where the experiment asks for a kill.
    if group.version == 2:
        _write(folder / "memory.max", str(byte))
        _write_where_present(folder / "memory.swap.max", "0")
    else:
        _write(folder / "memory.limit_in_bytes", str(byte))
        _write_where_present(folder / "memory.memsw.limit_in_bytes", str(byte))


def group_name(run: str, name: str) -> str:
    for word in (run, name):
        if not NAME.match(word):
            raise UsageError(
                f"A control group cannot be named after {word!r}.",
                remedy="Use letters, digits, dots, dashes and underscores, 64 at most.",
            )
    return f"mastery-{run}-{name}"


def leftover_groups(run: str | None = None, *, root: Path = ROOT) -> tuple[Path, ...]:
    """Folders of groups of one run, or of any: for the janitor. It alone knows which runs are still alive."""
    prefix = "mastery-" if run is None else group_name(run, "x").removesuffix("x")
    found: set[Path] = set()
    for hierarchy in hierarchies(root):
        for parent, children, _ in os.walk(hierarchy.mount):
            found.update(Path(parent) / child for child in children if child.startswith(prefix))
    return tuple(sorted(found))


def remove_group(folder: Path) -> None:
    """A killed process leaves its group a moment after the kill, so the removal is tried until the kernel agrees."""
    deadline_s = time.monotonic() + REMOVAL_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise DomainError(
                    f"The control group {folder} cannot be removed: {error.strerror}.",
                    remedy=f"End the processes listed in {folder / 'cgroup.procs'}, then: rmdir {folder}",
                ) from error
            _kill_all(folder)
            time.sleep(RETRY_S)
        else:
            return


def _kill_all(folder: Path) -> None:
    for word in _words(folder / "cgroup.procs"):
        pid = int(word)
        if pid == os.getpid():
            _write(folder.parent / "cgroup.procs", word)
            continue
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _write(path: Path, text: str) -> None:
    # Unbuffered: an interface file takes one write, and its refusal must be raised here, not at closing.
    with path.open("wb", buffering=0) as file:
        file.write(text.encode())


def _write_where_present(path: Path, text: str) -> None:
    if path.exists():
        _write(path, text)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None


def _table(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
