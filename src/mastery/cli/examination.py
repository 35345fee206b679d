"""What this machine has for each experiment, asked of the very components that the experiment would start."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mastery.catalogue.catalogue import Catalogue
from mastery.catalogue.loading import load_experiment
from mastery.components.component import Here, Missing, Site
from mastery.components.watcher import guarded_folder
from mastery.errors import MasteryError
from mastery.lab.experiment import Experiment
from mastery.lab.hosting import find_components


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
    trouble: str = ""
    remedy: str = ""

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if not each.is_here and each.kind == "component")

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
    """Every finding once, those of components first, in the order of the experiments."""
    found = dict.fromkeys(finding for each in examined for finding in each.findings)
    return sorted(found, key=lambda finding: finding.kind)


def _examine(name: str, catalogue: Catalogue, site: Site) -> Examined:
    try:
        experiment = load_experiment(name, catalogue)
        components = find_components(experiment, site)
    except MasteryError as error:
        return Examined(name, trouble=error.message, remedy=error.remedy)
    findings = [Finding.of(resource, "component", answer) for resource, answer in components.items()]
    return Examined(name, (*findings, *_references(experiment)))


def _references(experiment: Experiment) -> list[Finding]:
    tools = {reference.tool.name: reference.tool for reference in experiment.references}
    return [Finding.of(name, "reference tool", tool.find()) for name, tool in tools.items()]
