"""A run together with where it comes from: what was measured elsewhere is labelled, and never decides unless chosen."""

from dataclasses import dataclass
from enum import StrEnum

from mastery.lab.document import RunDocument


class Provenance(StrEnum):
    """Whose figures these are."""

    OWN = "own"
    IMPORTED = "imported"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class SourcedRun:
    """A run and its provenance."""

    document: RunDocument
    provenance: Provenance = Provenance.OWN


def fingerprint(document: RunDocument) -> str:
    """The machine of a run; runs with equal fingerprints may be compared, others never averaged."""
    return str(document.machine.get("fingerprint", ""))


def machine_class(document: RunDocument) -> str:
    """The machine's label for people."""
    return str(document.machine.get("machine_class", "")) or "unknown machine"


def code_of(document: RunDocument) -> str:
    """The hash of all code that a trial may have run; of the experiment's text alone where a run is older than that."""
    return str(document.declaration.get("code") or source_hash(document))


def source_hash(document: RunDocument) -> str:
    """SHA-256 of the experiment's text that was run; empty where the document does not say."""
    return str(document.declaration.get("source", ""))
