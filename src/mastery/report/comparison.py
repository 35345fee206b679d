"""Compares two runs of one experiment: differences with their intervals, and a verdict only where the spread between runs is known.

Two runs differ by what was changed and by everything else that changed meanwhile. An interval inside one run knows nothing
of that; only earlier runs on the same machine do.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mastery.errors import UsageError
from mastery.lab.distributions import student_quantile
from mastery.lab.document import AdviceRecord, ArmRecord, ComponentRecord, EffectRecord, MetricRecord, RunDocument
from mastery.report.sourced import code_of, fingerprint, machine_class

# Fewer runs say next to nothing about how runs scatter (two would ask for a factor of e^18 times their spread).
FEWEST_EARLIER = 3
LEVEL = 0.95


class Change(StrEnum):
    """What a difference between two runs amounts to."""

    UNKNOWN = "spread between runs not known"
    WITHIN = "within the spread between runs"
    BEYOND = "beyond the spread between runs"


@dataclass(frozen=True, slots=True)
class Figure:
    """One run's figure; `low` and `high` are its interval, None for guardrails (their figure is the worst trial) and few blocks."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How far two equal runs lie apart: the ratio stays between `1 / factor` and `factor` in 95 % of the cases.

    Where a verdict is given the level is shared out over the arms, so that the whole family errs in 5 %.
    """

    runs: int
    factor: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm and metric in both runs; `ratio` is that of the second run to the first, None where one of them is zero."""

    arm: ArmRecord
    metric: MetricRecord
    first: Figure | None
    second: Figure | None
    ratio: float | None
    spread: Spread | None
    change: Change
    # The effect against the baseline inside each run: what survives a machine that was slower as a whole.
    first_effect: EffectRecord | None
    second_effect: EffectRecord | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side; arms are matched by their levels."""

    first: RunDocument
    second: RunDocument
    differences: tuple[Difference, ...]
    only_first: tuple[ArmRecord, ...]
    only_second: tuple[ArmRecord, ...]
    earlier: int
    cautions: tuple[AdviceRecord, ...]


def compare(first: RunDocument, second: RunDocument, *, earlier: Sequence[RunDocument] = ()) -> Comparison:
    """Compares `second` with `first`; `earlier` are further runs from which the spread between runs is learnt.

    Of the earlier ones only those count that were made as the first was: same machine, code, mode, target, to the end.
    Raises `UsageError` for runs of different experiments and for a run with itself.
    """
    if first.experiment != second.experiment:
        raise UsageError(
            f"Run {first.id} is of {first.experiment}, run {second.id} of {second.experiment}.",
            remedy="Compare two runs of one experiment: `mastery results` lists them.",
        )
    if first.id == second.id:
        raise UsageError(f"Run {first.id} cannot be compared with itself.", remedy="Name two runs: `mastery results` lists them.")
    alike = [each for each in earlier if _made_alike(each, first) and each.id not in {first.id, second.id}]
    pairs = [(arm, other) for arm in first.arms for other in second.arms if arm.levels == other.levels]
    shared = [metric for metric in first.metrics if any(_same(metric, each) for each in second.metrics)]
    is_comparable = _made_alike(second, first, whatever_source=True)
    return Comparison(
        first=first,
        second=second,
        differences=tuple(
            _difference((first, arm), (second, other), metric, alike if is_comparable else [], family=len(pairs))
            for metric in shared
            for arm, other in pairs
        ),
        only_first=tuple(arm for arm in first.arms if arm.levels not in [each.levels for each in second.arms]),
        only_second=tuple(arm for arm in second.arms if arm.levels not in [each.levels for each in first.arms]),
        earlier=len(alike),
        cautions=tuple(_cautions(first, second)),
    )


def _made_alike(run: RunDocument, model: RunDocument, *, whatever_source: bool = False) -> bool:
    """Whether nothing that we know of differs between the runs; the code may where a change of it is what is compared."""
    same_code = whatever_source or code_of(run) == code_of(model)
    return (
        same_code
        and fingerprint(run) == fingerprint(model) != ""
        and (run.experiment, run.mode, run.target) == (model.experiment, model.mode, model.target)
        and run.stopped != "interrupted"
    )


def _same(metric: MetricRecord, other: MetricRecord) -> bool:
    return (metric.name, metric.unit, metric.better, metric.role) == (other.name, other.unit, other.better, other.role)


def _difference(
    ours: tuple[RunDocument, ArmRecord],
    theirs: tuple[RunDocument, ArmRecord],
    metric: MetricRecord,
    earlier: Sequence[RunDocument],
    *,
    family: int,
) -> Difference:
    first, second = _figure(*ours, metric), _figure(*theirs, metric)
    ratio = second.value / first.value if first and second and first.value > 0 and second.value > 0 else None
    is_primary = metric.name == ours[0].primary.name and metric.role != "guardrail"
    # Only the primary metric gets a verdict, over all arms together; the others show their spread and no more.
    spread = _spread(ours[1], metric, earlier, risk=(1 - LEVEL) / (family if is_primary else 1))
    change = Change.UNKNOWN
    if is_primary and spread is not None and ratio is not None:
        change = Change.BEYOND if abs(math.log(ratio)) > math.log(spread.factor) else Change.WITHIN
    return Difference(
        arm=ours[1],
        metric=metric,
        first=first,
        second=second,
        ratio=ratio,
        spread=spread,
        change=change,
        first_effect=ours[0].effect(ours[1].index, metric.name),
        second_effect=theirs[0].effect(theirs[1].index, metric.name),
    )


def _figure(document: RunDocument, arm: ArmRecord, metric: MetricRecord) -> Figure | None:
    guardrail = document.guardrail(arm.index, metric.name)
    if guardrail is not None:
        return Figure(guardrail.maximum if metric.better == "lower" else guardrail.minimum)
    estimate = document.estimate(arm.index, metric.name)
    return None if estimate is None or estimate.withheld else Figure(estimate.value, estimate.low, estimate.high)


def _spread(arm: ArmRecord, metric: MetricRecord, earlier: Sequence[RunDocument], *, risk: float) -> Spread | None:
    """From n earlier runs: the difference of two more has the standard deviation s sqrt(2), and s is known by n - 1 degrees."""
    logs: list[float] = []
    for run in earlier:
        own = next((each for each in run.arms if each.levels == arm.levels), None)
        figure = _figure(run, own, metric) if own else None
        if figure is not None and figure.value > 0:
            logs.append(math.log(figure.value))
    if len(logs) < FEWEST_EARLIER:
        return None
    reach = student_quantile(1 - risk / 2, len(logs) - 1) * statistics.stdev(logs) * math.sqrt(2)
    return Spread(len(logs), math.exp(min(reach, 700.0)))


def _cautions(first: RunDocument, second: RunDocument) -> list[AdviceRecord]:
    """What else differs between the runs than what was meant to."""
    found: list[AdviceRecord] = []

    def caution(code: str, text: str, remedy: str = "") -> None:
        found.append(AdviceRecord(code=code, text=text, remedy=remedy))

    again = f"mastery run {first.experiment}"
    if fingerprint(first) != fingerprint(second) or not fingerprint(first):
        between = f"{machine_class(first)}; {machine_class(second)}"
        caution("other-machine", f"The runs are from different machines or states of one ({between}).", again)
    if code_of(first) != code_of(second):
        caution("other-source", "The experiment's code is not the same in both runs.", again)
    if first.mode != second.mode:
        caution("other-mode", f"One run is {first.mode}, the other {second.mode}.", f"{again} in the same mode")
    if first.target != second.target:
        caution("other-target", f"One run measured {first.target or 'no target'}, the other {second.target or 'no target'}.")
    for name, ours, theirs in _versions(first, second):
        caution("other-version", f"{name}: {ours} in one run, {theirs} in the other.")
    for run in (first, second):
        if run.stopped == "interrupted":
            caution("interrupted", f"Run {run.id} was stopped before its planned end.", again)
    return found


def _versions(first: RunDocument, second: RunDocument) -> list[tuple[str, str, str]]:
    """Name and both versions of everything whose version or configuration differs."""
    found = [("mastery", first.package, second.package)] if first.package != second.package else []
    for fact in ("kernel", "interpreter"):
        ours, theirs = _fact(first, fact), _fact(second, fact)
        if ours != theirs:
            found.append((fact, ours, theirs))
    own, others = ({each.name: each for each in run.components} for run in (first, second))
    for name in sorted(own.keys() | others.keys()):
        mine, yours = own.get(name), others.get(name)
        if mine != yours:
            found.append((name, *_told_apart(mine, yours)))
    return found


def _told_apart(mine: ComponentRecord | None, yours: ComponentRecord | None) -> tuple[str, str]:
    """Both sides in words: versions where these differ, else the settings that do."""
    if mine is None or yours is None:
        return _version(mine), _version(yours)
    if _version(mine) != _version(yours):
        return _version(mine), _version(yours)
    keys = sorted(key for key in mine.configuration.keys() | yours.configuration.keys()
                  if mine.configuration.get(key) != yours.configuration.get(key))  # fmt: skip
    ours, theirs = (", ".join(f"{key}={each.configuration.get(key, 'unset')}" for key in keys) for each in (mine, yours))
    return ours, theirs


def _version(component: ComponentRecord | None) -> str:
    return "absent" if component is None else f"{component.version or 'no version'} ({component.how})"


def _fact(document: RunDocument, name: str) -> str:
    value = document.machine.get(name, "not known")
    return str(value.get("version", "not known")) if isinstance(value, dict) else str(value)
