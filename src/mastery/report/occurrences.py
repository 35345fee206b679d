"""What the systems did by themselves during a run, counted over its trials: a run that met no checkpoint says so."""

from dataclasses import dataclass

from mastery.lab.document import RunDocument
from mastery.report import numbers


@dataclass(frozen=True, slots=True)
class _Kind:
    """Something a system does by itself; `alive` are counters that move in any trial of a system that counts it.

    A counter that did not move is not stored: only beside one that did is its absence a zero.
    """

    noun: str
    counters: frozenset[str]
    alive: frozenset[str]


_POSTGRES = frozenset({"commits", "rollbacks", "wal_bytes"})
_VALKEY = frozenset({"commands"})
_KINDS = (
    _Kind("checkpoint", frozenset({"checkpoints_timed", "checkpoints_requested"}), _POSTGRES),
    _Kind("vacuum", frozenset({"autovacuums"}), _POSTGRES),
    _Kind("snapshot", frozenset({"snapshots"}), _VALKEY),
    _Kind("rewrite of the append-only file", frozenset({"append_only_rewrites"}), _VALKEY),
)


def occurrences(document: RunDocument) -> list[str]:
    """One sentence for each system that counts what it does by itself."""
    totals: dict[str, float] = {}
    for trial in document.trials:
        for name, difference in trial.counters.items():
            totals[name] = totals.get(name, 0.0) + difference
    resources = dict.fromkeys(name.rpartition(".")[0] for name in totals)
    told = []
    for resource in resources:
        moved = {name.rpartition(".")[2]: total for name, total in totals.items() if name.rpartition(".")[0] == resource}
        counts = {kind: _count(kind, moved) for kind in _KINDS if (kind.alive | kind.counters) & moved.keys()}
        if counts:
            told.append(_sentence(counts))
    return told


def _count(kind: _Kind, moved: dict[str, float]) -> int:
    return round(sum(moved.get(counter, 0.0) for counter in kind.counters))


def _sentence(counts: dict[_Kind, int]) -> str:
    if not any(counts.values()):
        return f"No {' and no '.join(kind.noun for kind in counts)} occurred during the run."
    said = " and ".join(_counted(count, kind.noun) for kind, count in counts.items())
    return f"{said[:1].upper()}{said[1:]} occurred during the trials of the run."


def _counted(count: int, noun: str) -> str:
    first, _, rest = noun.partition(" ")
    return f"{numbers.counted(count, first)}{' ' if rest else ''}{rest}"
