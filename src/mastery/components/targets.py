"""The user's own servers by name: the file that names them, what the user allowed by repeating a name, what a visit may ask."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from mastery.components.component import Site
from mastery.errors import TargetRefused, UnknownName


@dataclass(frozen=True, slots=True)
class Leave:
    """What the user allowed by repeating a name: `scratch` the database's, `shared_server` and `owned` the target's."""

    scratch: str | None = None
    shared_server: str | None = None
    owned: str | None = None

    @classmethod
    def of(cls, site: Site) -> Self:
        return cls(site.allowed.get("scratch"), site.allowed.get("shared-server"), site.allowed.get("i-own-this-server"))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run may ask of a server that is not ours; said before it starts. Load and time are kept by the engine."""

    connections: int = 4
    operations_per_s: float = 200.0
    wal_bytes: int = 256 << 20
    duration_s: float = 60.0
    lock_timeout_ms: int = 200
    statement_timeout_ms: int = 10_000


GUEST = Allowance()
# What the owner of a server lifts by repeating its name; statements still end by themselves.
OWNER = Allowance(100, 1e6, 1 << 40, 3600.0, lock_timeout_ms=10_000, statement_timeout_ms=60_000)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that a killed run of this user's left on a target, with the statement that removes it."""

    name: str
    drop: str


@runtime_checkable
class Visit(Protocol):
    """A service that is our stay on a server of the user's."""

    @property
    def how_to_drop(self) -> str:
        """What removes everything of ours from the server, should we be killed."""


@runtime_checkable
class Searched(Visit, Protocol):
    """A visit that can tell what earlier ones left."""

    def leftovers(self) -> tuple[Leftover, ...]:
        """What killed runs of ours left there; looked at and not touched."""


@runtime_checkable
class Metered(Visit, Protocol):
    """A visit that counts what it costs the server."""

    def exceeded(self) -> str | None:
        """What more than the allowance was used, in a sentence; None while the run may go on."""


def targets_file() -> Path:
    """Where the user names servers; MASTERY_HOME moves it with everything else."""
    home = os.environ.get("MASTERY_HOME")
    if home:
        return Path(home) / "targets.toml"
    from platformdirs import user_config_path

    return user_config_path("mastery") / "targets.toml"


def entry(component: str, name: str, *, example: str) -> Mapping[str, object]:
    """What the file says under [component.name]; UnknownName offers the nearest names, and shows the `example` line."""
    file = targets_file()
    try:
        known = tomllib.loads(file.read_text(encoding="utf-8")).get(component, {})
    except FileNotFoundError:
        known = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        message = f"{file} cannot be read: {broken}."
        raise TargetRefused(message, remedy=f"Mend it; each entry is [{component}.NAME].") from broken
    if not isinstance(known, dict) or not isinstance(known.get(name), dict):
        names = sorted(known) if isinstance(known, dict) else []
        raise UnknownName("target", name, names, remedy=f"Name it in {file}: [{component}.{name}] and below it {example}.")
    return dict(known[name])


def from_environment(component: str, name: str, variable: str) -> str:
    """The connection string in the environment variable that an entry names: the place for one with a password."""
    found = os.environ.get(variable, "")
    if not found:
        raise refuse_entry(
            component, name, f"names the environment variable {variable}, which is not set", remedy=f"Set {variable}."
        )
    return found


def refuse_entry(component: str, name: str, why: str, *, remedy: str) -> TargetRefused:
    """An error that names the entry and never repeats what it says: it may hold a password."""
    return TargetRefused(f"The entry [{component}.{name}] of {targets_file()} {why}.", remedy=remedy)


def first_line(raised: Exception) -> str:
    """A driver's message without its second thoughts."""
    return str(raised).strip().partition("\n")[0].rstrip(".")
