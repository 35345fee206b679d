"""The user's own servers by name: the file that names them, and what the user allowed by repeating a name."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
