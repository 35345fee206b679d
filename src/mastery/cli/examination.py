"""What this machine has for each experiment, asked of the very components that the experiment would start."""

import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mastery.catalogue.catalogue import Catalogue
from mastery.catalogue.loading import load_experiment
from mastery.components.component import Component, Here, Missing, Site
from mastery.components.targets import targets_file
from mastery.components.watcher import guarded_folder
from mastery.errors import MasteryError
from mastery.lab.experiment import Experiment
from mastery.lab.hosting import find_components

# The kinds of server among which a user may choose with --component.
_KINDS = ("embedded", "os")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an experiment needs: how it is here, or why it is missing and what mends it."""

    name: str
    kind: str
    is_here: bool
    how: str
    remedy: str = ""

    @classmethod
    def of(cls, name: str, kind: str, answer: Here | Missing) -> "Finding":
        if isinstance(answer, Here):
            return cls(name, kind, True, " ".join(filter(None, (answer.how, answer.version))))
        return cls(name, kind, False, answer.reason, answer.remedy)


@dataclass(frozen=True, slots=True)
class Examined:
    """One experiment: what it needs, or why its file does not load."""

    experiment: str
    findings: tuple[Finding, ...] = ()
    # The components behind the findings by their own names, with every way in which each can be had here.
    ways: tuple[Finding, ...] = ()
    trouble: str = ""
    remedy: str = ""

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if not each.is_here and each.kind == "resource")

    @property
    def standing(self) -> str:
        """In a word or two: whether it runs here."""
        if self.trouble:
            return "broken"
        return "runs" if not self.missing else "in part" if any(each.is_here for each in self.findings) else "cannot run"


def examine_all(catalogue: Catalogue, base: Path) -> tuple[Examined, ...]:
    """Asks for every experiment of the catalogue, in a folder below `base` that is gone afterwards."""
    with guarded_folder(base, f"looking-{secrets.token_hex(4)}") as folder:
        return tuple(_examine(listing.id, catalogue, folder.site) for listing in catalogue.experiments())


def distinct(examined: Sequence[Examined]) -> list[Finding]:
    """Every way to a component and every reference tool once, those of components first and by their names."""
    found = dict.fromkeys(finding for each in examined for finding in (*each.ways, *each.findings) if finding.kind != "resource")
    names = list(dict.fromkeys(finding.name for finding in found))
    return sorted(found, key=lambda finding: (finding.kind, names.index(finding.name)))


def _examine(name: str, catalogue: Catalogue, site: Site) -> Examined:
    try:
        experiment = load_experiment(name, catalogue)
        components = find_components(experiment, site)
    except MasteryError as error:
        return Examined(name, trouble=error.message, remedy=error.remedy)
    findings = [Finding.of(resource, "resource", answer) for resource, answer in components.items()]
    ways = [way for resource, component in experiment.resources.items() for way in _ways(component, components[resource], site)]
    return Examined(name, (*findings, *_references(experiment)), tuple(ways))


def _ways(component: Component, answer: Here | Missing, site: Site) -> list[Finding]:
    """A component that heeds the user's choice is asked for each kind; any other answers as it did."""
    name = component.name
    by_kind = {kind: component.find(replace(site, choices={name: kind})) for kind in _KINDS}
    if len(set(by_kind.values())) == 1:
        return [Finding.of(name, "component", answer)]
    found = [_way(name, kind, each) for kind, each in by_kind.items()]
    targets = names_of(name)
    own = f"target: {', '.join(targets)} (not asked)" if targets else "target: no server of yours is named"
    return [*found, Finding(name, "component", bool(targets), own, "" if targets else f"Name one in {targets_file()}.")]


def names_of(component: str) -> list[str]:
    """The servers that the user named for a component; a file that cannot be read names none, and says so when it is used."""
    try:
        known = tomllib.loads(targets_file().read_text(encoding="utf-8")).get(component, {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    return sorted(known) if isinstance(known, dict) else []


def _way(name: str, kind: str, answer: Here | Missing) -> Finding:
    found = Finding.of(name, "component", answer)
    return found if found.how.startswith(kind) else replace(found, how=f"{kind}: {found.how}")


def _references(experiment: Experiment) -> list[Finding]:
    tools = {reference.tool.name: reference.tool for reference in experiment.references}
    return [Finding.of(name, "reference tool", tool.find()) for name, tool in tools.items()]
