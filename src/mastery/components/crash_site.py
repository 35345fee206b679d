"""Places that die, as resources of an experiment: the kill of a process, and the power cut that this machine can make."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.crash_places import Cut, find_place
from mastery.components.power_cut import CrashPlace
from mastery.errors import MachineCannot


@dataclass(frozen=True, slots=True)
class CrashSite:
    """The address a trial gets: a place to die in, and an empty folder for its files."""

    place: CrashPlace
    folder: Path


@dataclass(frozen=True, slots=True)
class CrashSiteOf:
    """The component that hands out places for one kind of cut, the strongest that this machine can make."""

    cut: Cut
    # Mount options of the file system that is cut, such as `commit=300`.
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.cut.value

    @property
    def scope(self) -> Scope:
        return Scope.RUN

    def find(self, site: Site) -> Here | Missing:
        with _tried_in(site.folder) as folder:
            found = find_place(self.cut, folder, self.options)
        return found if isinstance(found, Missing) else Here(how=f"{found[0].kind}; {found[1].how}", version=found[1].version)

    def start(self, site: Site, settings: Mapping[str, str]) -> "CrashSites":
        with _tried_in(site.folder) as folder:
            found = find_place(self.cut, folder, self.options)
        if isinstance(found, Missing):
            raise MachineCannot(found.reason, remedy=found.remedy)
        return CrashSites(found[0], site.folder)


@contextmanager
def _tried_in(base: Path) -> Iterator[Path]:
    """A folder for trying a place out, gone afterwards with whatever the trying left in it."""
    folder = base / "trying"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
