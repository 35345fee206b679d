"""How an experiment is declared: factors, arms, metrics, load, resources, claims, and one generator function.

    @experiment(id="fsync-cost", question="...", factors=[...], metrics=[...], load=Closed(), resources={...})
    def fsync_cost(arm, disk):
        ...set up...
        result = yield operation      # the engine times this callable, by the declared load
        result.record(at_risk=...)    # correctness beside speed, from the same trial
        ...tear down...

The declaration is a value: the table, the plot, the prediction form, the query and the JSON all come from it.
"""

import inspect
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mastery.components.component import Component
from mastery.errors import BrokenExperiment, UnknownName
from mastery.lab.claim import Cited, Claim, Documented, ambiguities
from mastery.lab.document import FactorRecord, MetricRecord
from mastery.lab.fault import Fault
from mastery.lab.load import Closed, Load
from mastery.lab.reference import Reference
from mastery.lab.source import code_hash, source_hash

Level = str | int | float | bool
TrialFunction = Callable[..., Generator[Any, Any, None]]


class Better(StrEnum):
    """The direction in which a metric improves."""

    LOWER = "lower"
    HIGHER = "higher"


class Role(StrEnum):
    """What a metric is for: a response is estimated, a cost is what one pays, a guardrail is judged by its worst case."""

    RESPONSE = "response"
    COST = "cost"
    GUARDRAIL = "guardrail"


# What the engine computes from the samples and outcomes of every trial; an experiment records the others itself.
MEASURED_BY_THE_ENGINE = frozenset(
    {"p50", "p90", "p95", "p99", "p99.9", "mean", "max", "throughput", "errors", "retries", "unknown", "cpu", "seconds"}
)


@dataclass(frozen=True, slots=True)
class Factor:
    """A knob and its levels; `quick` names the levels of the quick mode, `meaning` says what the knob does."""

    name: str
    levels: Sequence[Level]
    baseline: Level
    unit: str = ""
    quick: Sequence[Level] | None = None
    meaning: str = ""

    def record(self) -> FactorRecord:
        """The factor as it stands in the run document."""
        return FactorRecord(name=self.name, levels=list(self.levels), baseline=self.baseline, unit=self.unit, meaning=self.meaning)


@dataclass(frozen=True, slots=True)
class Metric:
    """A named result of a trial. `unit` is the unit of the stored value ("s", "op/s", "record")."""

    name: str
    unit: str
    better: str = Better.LOWER
    role: str = Role.RESPONSE
    primary: bool = False
    meaning: str = ""

    def record(self, primary: "Metric") -> MetricRecord:
        """The metric as it stands in the run document; `primary` is the one that gets verdicts."""
        return MetricRecord(
            name=self.name,
            unit=self.unit,
            better=Better(self.better).value,
            role=Role(self.role).value,
            primary=self is primary,
            meaning=self.meaning,
        )


@dataclass(frozen=True, slots=True)
class Arm:
    """One combination of levels; `arm.sync` is the level of the factor `sync`."""

    index: int
    levels: Mapping[str, Level]
    is_baseline: bool = False
    # The factors in which it differs from the baseline of this run; `only` may ask for them.
    differs: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.levels[name]
        except KeyError:
            raise AttributeError(f"this experiment has no factor {name!r}; it has {', '.join(self.levels)}") from None

    def label(self, varying: Sequence[str] | None = None) -> str:
        """`sync=every record=4096`, restricted to the factors that vary where those are given."""
        names = self.levels if varying is None else varying
        return " ".join(f"{name}={self.levels[name]}" for name in names) or "the only arm"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One question, what is varied, what is measured, and the trial function that does it."""

    id: str
    question: str
    factors: tuple[Factor, ...]
    metrics: tuple[Metric, ...]
    load: Load | Callable[[Arm], Load]
    trial: TrialFunction
    resources: Mapping[str, Component] = field(default_factory=dict)
    # Settings of components whose scope is the arm: component name -> settings, from the arm.
    settings: Callable[[Arm], Mapping[str, Mapping[str, str]]] | None = None
    only: Callable[[Arm], bool] | None = None
    # The names of the resources that an arm needs; all of them where this is left out.
    needs: Callable[[Arm], Sequence[str]] | None = None
    # What strikes the services while a trial of the arm runs.
    faults: Callable[[Arm], Sequence[Fault]] | None = None
    smallest_effect: float = 0.10
    claims: tuple[Claim, ...] = ()
    cited: tuple[Cited, ...] = ()
    documented: tuple[Documented, ...] = ()
    references: tuple[Reference, ...] = ()
    # An exact experiment counts instead of timing: one block, no interval, no A/A arm.
    exact: bool = False
    # Seconds one trial takes beside its load (set-up, power cut, recovery); for the estimate before the start.
    overhead_s: float = 0.05
    # A trial that takes longer than this (or than five times its load) is void.
    timeout_s: float = 60.0
    # A trial must last at least so long to meet what it is about (a time-out of the server), however small the budget.
    least_s: float = 0.0
    writes: str = ""
    # SHA-256 of the module's text, and of it together with all the code of ours that a trial may run.
    source: str = ""
    code: str = ""

    def load_of(self, arm: Arm) -> Load:
        return self.load(arm) if callable(self.load) else self.load

    def resources_of(self, arm: Arm) -> tuple[str, ...]:
        return tuple(self.needs(arm)) if self.needs else tuple(self.resources)

    def metric(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        known = [metric.name for metric in self.metrics]
        raise UnknownName("metric", name, known, remedy=f"Metrics of {self.id}: {', '.join(known)}.")

    def factor(self, name: str) -> Factor:
        for factor in self.factors:
            if factor.name == name:
                return factor
        known = [factor.name for factor in self.factors]
        raise UnknownName("factor", name, known, remedy=f"Factors of {self.id}: {', '.join(known)}.")

    @property
    def primary(self) -> Metric:
        """The one metric that gets verdicts; the first response where none is named."""
        named = [metric for metric in self.metrics if metric.primary]
        responses = [metric for metric in self.metrics if metric.role == Role.RESPONSE]
        return (named or responses or list(self.metrics))[0]

    @property
    def article(self) -> str:
        """The identifier of the article's folder, or the module's name for a file of the user's."""
        parts = self.trial.__module__.split(".")
        return parts[2] if parts[:2] == ["mastery", "articles"] and len(parts) > 3 else ""

    def arms(self, levels: Mapping[str, Sequence[Level]] | None = None, *, quick: bool = False) -> tuple[Arm, ...]:
        """All sensible combinations, the baseline first; `levels` overrides what a factor runs through."""
        chosen = [self._levels_of(factor, levels or {}, quick=quick) for factor in self.factors]
        home = tuple(self._home_level(factor, each) for factor, each in zip(self.factors, chosen, strict=True))
        combinations = [home, *(each for each in itertools.product(*chosen) if each != home)]
        names = [factor.name for factor in self.factors]
        arms: list[Arm] = []
        for combination in combinations:
            differs = frozenset(name for name, own, at_home in zip(names, combination, home, strict=True) if own != at_home)
            arm = Arm(len(arms), dict(zip(names, combination, strict=True)), is_baseline=not differs, differs=differs)
            if arm.is_baseline or self.only is None or self.only(arm):
                arms.append(arm)
        return tuple(arms)

    def declared_home(self, *, quick: bool = False) -> dict[str, Level]:
        """The levels that claims and references mean where they name none: the declared baselines, whatever the user chose."""
        return {each.name: self._home_level(each, self._levels_of(each, {}, quick=quick)) for each in self.factors}

    def _levels_of(self, factor: Factor, override: Mapping[str, Sequence[Level]], *, quick: bool) -> tuple[Level, ...]:
        if factor.name in override:
            return tuple(override[factor.name])
        return tuple(factor.quick if quick and factor.quick is not None else factor.levels)

    @staticmethod
    def _home_level(factor: Factor, chosen: Sequence[Level]) -> Level:
        # A reader who leaves the baseline out compares with the first level they named.
        return factor.baseline if factor.baseline in chosen else chosen[0]


def experiment(
    *,
    id: str,
    question: str,
    factors: Sequence[Factor],
    metrics: Sequence[Metric],
    load: Load | Callable[[Arm], Load] | None = None,
    resources: Mapping[str, Component] | None = None,
    claims: Sequence[Claim] = (),
    cited: Sequence[Cited] = (),
    documented: Sequence[Documented] = (),
    references: Sequence[Reference] = (),
    **rest: Any,
) -> Callable[[TrialFunction], Experiment]:
    """Declares the decorated generator function as an experiment; contradictions are refused when the file is loaded."""

    def declare(trial: TrialFunction) -> Experiment:
        declared = Experiment(
            id=id,
            question=question,
            factors=tuple(factors),
            metrics=tuple(metrics),
            load=load if load is not None else Closed(),
            trial=trial,
            resources=dict(resources or {}),
            claims=tuple(claims),
            cited=tuple(cited),
            documented=tuple(documented),
            references=tuple(references),
            source=source_hash(trial),
            code=code_hash(trial),
            **rest,
        )
        for complaint in contradictions(declared):
            raise BrokenExperiment(f"Experiment {id!r}: {complaint}", remedy=f"Edit {inspect.getsourcefile(trial)}.")
        return declared

    return declare


def contradictions(declared: Experiment) -> list[str]:
    """What is wrong with a declaration, in sentences; empty when it can be run."""
    found: list[str] = []
    if not inspect.isgeneratorfunction(declared.trial):
        found.append("the decorated function must be a generator (`result = yield operation`).")
    parameters = list(inspect.signature(declared.trial).parameters.values())[1:]
    wanted = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    takes_any = len(wanted) < len(parameters)
    if not set(wanted) <= set(declared.resources) or (set(wanted) != set(declared.resources) and not takes_any):
        found.append(f"its function takes {wanted or 'no resources'}, its resources are {list(declared.resources) or 'none'}.")
    for factor in declared.factors:
        if factor.baseline not in factor.levels:
            found.append(f"factor {factor.name!r} has the baseline {factor.baseline!r}, which is not among its levels.")
        # A number may be quicker than every declared one (a smaller sample); a word must be one of the levels.
        if unknown := [level for level in factor.quick or () if level not in factor.levels and isinstance(level, str)]:
            found.append(f"factor {factor.name!r} names quick levels that it does not have: {unknown}.")
    if not declared.metrics:
        found.append("it has no metric.")
    if sum(metric.primary for metric in declared.metrics) > 1:
        found.append("more than one metric is called primary.")
    names = {metric.name for metric in declared.metrics}
    found += [
        f"claim {claim.id!r} speaks of the metric {claim.comparison.metric!r}, which it does not have."
        for claim in declared.claims
        if claim.comparison.metric not in names
    ]
    found += ambiguities(declared.claims, {factor.name: factor.levels for factor in declared.factors})
    for reference in declared.references:
        if reference.metric not in names:
            found.append(f"reference {reference.id!r} speaks of the metric {reference.metric!r}, which it does not have.")
    found += [
        f"metric {metric.name!r} is {metric.better!r} and of the role {metric.role!r}; see Better and Role."
        for metric in declared.metrics
        if metric.better not in set(Better) or metric.role not in set(Role)
    ]
    if declared.least_s < 0:
        found.append(f"least_s is {declared.least_s}; a trial lasts at least 0 s.")
    if not 0 < declared.smallest_effect < 1:
        found.append(f"smallest_effect is {declared.smallest_effect}; it must lie between 0 and 1.")
    return found
