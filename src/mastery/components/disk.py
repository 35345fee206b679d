"""The scratch disk: an empty folder for each trial, on a real device, with what that device is and how honestly it flushes.

A trial's data are discarded, not flushed, when it ends: truncating a file drops its dirty pages, so a trial that never
synced does not leave its backlog to the next one (such a neighbour made a flushed write 20 % slower).
"""

import os
import re
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.device import SYSFS, DeviceFacts, describe
from mastery.errors import BrokenExperiment, MachineCannot

# A flush has to reach a controller and come back. Below this, something between us and the medium answered for it:
# 20 us is what an Optane drive or a RAID controller with a battery needs, and neither keeps a volatile cache.
PLAUSIBLE_FLUSH_S = 20e-6

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_REMEDY = "Choose a folder on a real disk with `--on disk=FOLDER`."


@dataclass(frozen=True, slots=True)
class Folder:
    """The address that a trial gets: an empty folder on the scratch disk."""

    path: Path


@dataclass(frozen=True, slots=True)
class FlushHonesty:
    """How long a flush takes here, and whether that can be true."""

    median_s: float
    rounds: int
    volatile_cache: bool | None

    @property
    def plausible(self) -> bool:
        """False where a device that is not known to do without a volatile cache flushes faster than any medium."""
        return self.median_s >= PLAUSIBLE_FLUSH_S or self.volatile_cache is False

    def sentence(self) -> str:
        took = f"fdatasync of an overwritten 4 KiB block takes {self.median_s * 1e6:.0f} us (median of {self.rounds})"
        if self.plausible:
            return f"{took}: plausible"
        return f"{took}: too fast to be true, so nothing measured here speaks about safety in a power cut"


def flush_honesty(
    facts: DeviceFacts, folder: Path, *, clock_ns: Callable[[], int] = perf_counter_ns, rounds: int = 9
) -> FlushHonesty:
    """Times a few flushes in `folder`; an overwrite of allocated blocks, so that no metadata has to be written too."""
    file = folder / ".flush-honesty"
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    took_ns = []
    try:
        os.pwrite(descriptor, bytes(4096), 0)
        os.fsync(descriptor)
        for each in range(rounds):
            os.pwrite(descriptor, bytes([each + 1]) * 4096, 0)
            began_ns = clock_ns()
            os.fdatasync(descriptor)
            took_ns.append(clock_ns() - began_ns)
    finally:
        os.close(descriptor)
        file.unlink()
    return FlushHonesty(statistics.median(took_ns) / 1e9, rounds, facts.volatile_cache)


def parse_size(text: str) -> int:
    """`1 GiB` in bytes; only binary units, so that nobody has to guess what a `GB` is."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)\s*", text)
    if found is None:
        raise BrokenExperiment(f"{text!r} is no size.", remedy="Write a number and B, KiB, MiB, GiB or TiB, such as '1 GiB'.")
    return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, slots=True)
class ScratchDisk:
    """The declaration: a folder on a real device with at least `free` space."""

    free: str = "1 GiB"

    @property
    def name(self) -> str:
        return "disk"

    @property
    def scope(self) -> Scope:
        return Scope.RUN

    def find(self, site: Site) -> Here | Missing:
        needed = parse_size(self.free)
        try:
            return self._judge(describe(site.folder), needed)
        except FileNotFoundError:
            return Missing(f"The scratch folder {site.folder} does not exist.", _REMEDY)
        except OSError as problem:
            return Missing(f"The scratch folder {site.folder} cannot be looked at: {problem.strerror}.", _REMEDY)

    def start(self, site: Site, settings: Mapping[str, str]) -> "ScratchDiskService":
        if settings:
            raise BrokenExperiment(f"A scratch disk has no settings, not {sorted(settings)}.", remedy="Remove them from the arm.")
        found = self.find(site)
        if isinstance(found, Missing):
            raise MachineCannot(found.reason, remedy=found.remedy)
        return ScratchDiskService(site.folder)

    def _judge(self, facts: DeviceFacts, needed: int) -> Here | Missing:
        if facts.in_memory:
            where = " over ".join((facts.file_system, *facts.layers))
            return Missing(f"{facts.path} is kept in memory ({where}), where a flush does nothing.", _REMEDY)
        if facts.read_only or not os.access(facts.path, os.W_OK | os.X_OK):
            return Missing(f"{facts.path} cannot be written to.", _REMEDY)
        if facts.free_bytes < needed:
            free = f"{facts.free_bytes / 2**30:.2f} GiB"
            return Missing(f"{facts.path} has {free} free, {self.free} are needed.", f"Free some space, or: {_REMEDY}")
        return Here(how=facts.sentence())


class ScratchDiskService:
    """Hands out one empty folder per trial below `root`, and remembers what `root` sits on."""

    def __init__(self, root: Path, *, sysfs: Path = SYSFS) -> None:
        self._root = root
        self._facts = describe(root)
        self._honesty = flush_honesty(self._facts, root)
        self._given: set[Path] = set()
        number = root.stat().st_dev
        self._statistics = sysfs / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}" / "stat"

    @property
    def facts(self) -> DeviceFacts:
        return self._facts

    @property
    def honesty(self) -> FlushHonesty:
        return self._honesty

    def fresh(self, name: str) -> AbstractContextManager[Folder]:
        return self._folder(name)

    @contextmanager
    def _folder(self, name: str) -> Iterator[Folder]:
        path = self._root / re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")
        path.mkdir(mode=0o700)
        self._given.add(path)
        try:
            yield Folder(path)
        finally:
            discard(path)
            self._given.discard(path)

    def configuration(self) -> Mapping[str, str]:
        facts = self._facts
        known = {
            "file system": " over ".join((facts.file_system, *facts.layers)),
            "mount options": ",".join(each for each in facts.mount_options if "=/" not in each),
            "device": facts.device,
            "disk": facts.disk,
            "transport": facts.transport,
            "model": facts.model,
            "rotational": None if facts.rotational is None else ("yes" if facts.rotational else "no"),
            "write cache": facts.write_cache,
            "encrypted by": facts.encrypted_by or "nothing that the kernel shows",
            "network": "yes" if facts.over_network else "no",
            "free": f"{facts.free_bytes / 2**30:.1f} GiB",
            "flush honesty": self._honesty.sentence(),
        }
        return {key: value if value is not None else "unknown" for key, value in known.items()}

    def counters(self) -> Mapping[str, float]:
        """What the whole device did, neighbours included: see the kernel's `Documentation/block/stat.rst`."""
        try:
            fields = self._statistics.read_text().split()
        except OSError:
            return {}
        counted = {
            "device_reads": float(fields[0]),
            "device_writes": float(fields[4]),
            "device_written_bytes": float(fields[6]) * 512,
        }
        return counted | ({"device_flushes": float(fields[15])} if len(fields) > 15 else {})

    def stop(self) -> None:
        for path in tuple(self._given):
            discard(path)
            self._given.discard(path)


def discard(path: Path) -> None:
    """Removes a trial's folder and its dirty pages, then commits the removal: the next trial starts with nothing owed."""
    for folder, _, files in os.walk(path):
        for file in files:
            _truncate(Path(folder) / file)
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise MachineCannot(
            f"The scratch folder {path} cannot be removed.", remedy="Look what still uses it, then remove it by hand."
        )
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _truncate(file: Path) -> None:
    """Empties a regular file; links, sockets and pipes hold no pages of their own."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_nlink == 1 and os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)
    except OSError:
        return
    finally:
        os.close(descriptor)
