"""Places that die, as resources of an experiment: the kill of a process, and the power cut that this machine can make."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.loop_disk import FileSystem
from mastery.components.power_cut import CrashPlace
from mastery.components.process_kill import ProcessKill
from mastery.components.shutdown_cut import ShutdownCut
from mastery.components.uml_cut import UmlCut


@dataclass(frozen=True, slots=True)
class CrashSite:
    """The address a trial gets: a place to die in, and an empty folder for its files."""

    place: CrashPlace
    folder: Path


@dataclass(frozen=True, slots=True)
class _Cuttable:
    """A component that hands out one kind of crash site, the first of several ways that works on this machine."""

    name: str
    ways: tuple[CrashPlace, ...]

    @property
    def scope(self) -> Scope:
        return Scope.RUN

    def find(self, site: Site) -> Here | Missing:
        """The first way that works, tried out; when none does, every reason, and the remedy of the easiest."""
        misses: list[Missing] = []
        for way in self.ways:
            found = _tried(way, site.folder)
            if isinstance(found, Here):
                return Here(how=f"{way.kind}; {found.how}", version=found.version)
            misses.append(found)
        return Missing(" ".join(miss.reason for miss in misses), misses[-1].remedy)

    def start(self, site: Site, settings: Mapping[str, str]) -> "CrashSites":
        for way in self.ways:
            if isinstance(_tried(way, site.folder), Here):
                return CrashSites(way, site.folder)
        raise AssertionError("a component is started only where it was found")


def _tried(way: CrashPlace, folder: Path) -> Here | Missing:
    """Asks the way in a folder that is gone afterwards, whatever the trying left in it."""
    place = folder / "trying"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return way.find(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


class CrashSites:
    """The service: an empty folder per trial; the places themselves live only as long as their cut."""

    def __init__(self, place: CrashPlace, root: Path) -> None:
        self._place = place
        self._root = root

    @contextmanager
    def fresh(self, name: str) -> Iterator[CrashSite]:
        folder = self._root / f"crash-{name}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield CrashSite(self._place, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def configuration(self) -> Mapping[str, str]:
        return {"kind": self._place.kind, "models": self._place.models}

    def counters(self) -> Mapping[str, float]:
        return {}

    def stop(self) -> None:
        return


def process_kill() -> _Cuttable:
    """SIGKILL of the writer: loses nothing from the page cache, and is never called a power cut."""
    return _Cuttable("process kill", (ProcessKill(),))


def power_cut(file_system: FileSystem = FileSystem.EXT4, options: tuple[str, ...] = ()) -> _Cuttable:
    """A real power cut of a file system of ours: by the kernel's shutdown as root, else under user-mode Linux (ext4 alone)."""
    ways: list[CrashPlace] = [ShutdownCut(file_system, options)]
    if file_system is FileSystem.EXT4:
        ways.append(UmlCut(options))
    return _Cuttable(f"power cut ({' '.join((file_system, *options))})", tuple(ways))
