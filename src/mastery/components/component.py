"""What a component is: something real that an experiment needs, found, started, given out by address, stopped.

    Component.find(site)  -> Here | Missing          probed by doing, never by version
    Component.start(site) -> Service                 once per run (or per arm, with that arm's settings)
    Service.fresh(name)   -> context of an address   the data of one trial: made empty, removed at the end

A worker receives the address (plain values), never the live service of its parent.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Scope(StrEnum):
    """How long one service lives; the data inside it is always made anew for each trial."""

    RUN = "run"
    ARM = "arm"


@dataclass(frozen=True, slots=True)
class Here:
    """The component can be had on this machine: how it was found and which version it is."""

    how: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """The component cannot be had: why, and what mends it. `extra` names the extra that would bring it."""

    reason: str
    remedy: str
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Where one run may put things, and what the user chose for it.

    `folder` has mode 0700 and lies on the disk to be measured; `sockets` has mode 0700 and a path short
    enough for Unix sockets; both vanish with the run. `choices` maps a component to "embedded", "os" or
    nothing; `targets` maps a component to the name of a server in the user's own targets file; `allowed` holds what the
    user allowed on that server by repeating a name.
    """

    run: str
    folder: Path
    sockets: Path
    choices: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """A started component, owned by the run process."""

    def fresh(self, name: str) -> AbstractContextManager[object]:
        """The address of empty data for the trial called `name`; the data is discarded on exit."""

    def configuration(self) -> Mapping[str, str]:
        """What must stand in the run document: name, version, how found, settings that decide figures."""

    def counters(self) -> Mapping[str, float]:
        """What the system did by itself so far (checkpoints, vacuums ...), to be differenced per trial."""

    def stop(self) -> None:
        """Ends the service and everything it started; may be called twice."""


class Component(Protocol):
    """The declaration of a component, as an experiment names it among its resources."""

    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> Scope: ...

    def find(self, site: Site) -> Here | Missing:
        """Whether this machine (or the chosen target) has it; never raises for an absence."""

    def start(self, site: Site, settings: Mapping[str, str]) -> Service:
        """Starts it for one run or arm; `settings` are the server's own names and values."""
