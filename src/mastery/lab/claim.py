"""Claims: sentences of an article that a run can confirm or refute, decided on intervals.

    Claim("group-commit-pays", ratio("throughput", "group", over="every") >= 3, because="...")
    Claim("kill-loses-nothing", worst("lost", at={"cut": "process kill"}) <= 0)

`ratio` holds the factors it does not name at their baseline; `at=` fixes them otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Level = str | int | float | bool


class Quantity(StrEnum):
    """What a claim is about: an effect between two arms, one arm's estimate, or one arm's worst trial."""

    RATIO = "ratio"
    VALUE = "value"
    WORST = "worst"
    # The smallest single trial: for "loses at least", which a median would blur.
    LEAST = "least"


class Relation(StrEnum):
    """How the quantity stands to the threshold."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Comparison:
    """A quantity and the threshold it is held against."""

    quantity: Quantity
    metric: str
    level: Level | None
    over: Level | None
    at: Mapping[str, Level]
    every_level: str | None
    relation: Relation
    threshold: float

    def text(self) -> str:
        """The comparison in one line, as the tables print it."""
        where = "".join(f" {name}={level}" for name, level in self.at.items())
        where += f" at every {self.every_level}" if self.every_level else ""
        over = f", {self.level} over {self.over}" if self.quantity is Quantity.RATIO else ""
        return f"{self.quantity} of {self.metric}{over}{where} {self.relation} {self.threshold:g}"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The left side of a claim; comparing it with a number gives the comparison."""

    quantity: Quantity
    metric: str
    level: Level | None = None
    over: Level | None = None
    at: Mapping[str, Level] = field(default_factory=dict)
    every_level: str | None = None

    def __ge__(self, threshold: float) -> Comparison:
        return self._against(Relation.AT_LEAST, threshold)

    def __le__(self, threshold: float) -> Comparison:
        return self._against(Relation.AT_MOST, threshold)

    def _against(self, relation: Relation, threshold: float) -> Comparison:
        return Comparison(
            self.quantity, self.metric, self.level, self.over, dict(self.at), self.every_level, relation, float(threshold)
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """`because` carries the threshold's reason and the date it was written, before the run that tests it."""

    id: str
    comparison: Comparison
    text: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Cited:
    """A statement about something that is not measured here, with the source and version it holds for."""

    id: str
    text: str
    source: str
    url: str
    version: str


@dataclass(frozen=True, slots=True)
class Documented:
    """What a guardrail may come to by the documentation, whatever was seen: `decide` goes by the worse of the two.

    `bound` is in the metric's unit, None where nothing limits it; it holds for the arms that have all these `levels`.
    """

    metric: str
    bound: float | None
    source: str
    levels: Mapping[str, Level] = field(default_factory=dict)


def ratio(
    metric: str, level: Level, *, over: Level, at: Mapping[str, Level] | None = None, every_level: str | None = None
) -> Subject:
    """The effect of `level` against `over`, the factors not named in `at` at their baseline.

    `every_level` names a factor: the claim must then hold at each of its levels.
    """
    return Subject(Quantity.RATIO, metric, level, over, dict(at or {}), every_level)


def value(metric: str, *, at: Mapping[str, Level] | None = None, every_level: str | None = None) -> Subject:
    """The estimate of one arm, in the metric's own unit."""
    return Subject(Quantity.VALUE, metric, at=dict(at or {}), every_level=every_level)


def worst(metric: str, *, at: Mapping[str, Level] | None = None, every_level: str | None = None) -> Subject:
    """The largest value that any trial of one arm has shown: what a guardrail is judged by."""
    return Subject(Quantity.WORST, metric, at=dict(at or {}), every_level=every_level)


def least(metric: str, *, at: Mapping[str, Level] | None = None, every_level: str | None = None) -> Subject:
    """The smallest value that any trial of one arm has shown."""
    return Subject(Quantity.LEAST, metric, at=dict(at or {}), every_level=every_level)


def factor_of(level: Level | None, over: Level | None, levels_by_factor: Mapping[str, Sequence[Level]]) -> str:
    """The one factor that has both levels.

    Raises `ValueError` when none or several do; a declaration is checked for this when it is loaded.
    """
    names = [name for name, levels in levels_by_factor.items() if level in levels and over in levels]
    if len(names) != 1:
        raise ValueError(f"the levels {level!r} and {over!r} belong to {len(names)} factors, not to one")
    return names[0]


def ambiguities(claims: Sequence[Claim], levels_by_factor: Mapping[str, Sequence[Level]]) -> Iterator[str]:
    """What a claim leaves open or gets wrong about the factors, in sentences; none when all can be decided."""
    for claim in claims:
        comparison = claim.comparison
        if comparison.quantity is Quantity.RATIO:
            try:
                factor_of(comparison.level, comparison.over, levels_by_factor)
            except ValueError as error:
                yield f"claim {claim.id!r}: {error}."
        for name, level in comparison.at.items():
            if level not in levels_by_factor.get(name, ()):
                yield f"claim {claim.id!r} speaks of {name}={level}, which is no level of any factor."
        if comparison.every_level is not None and comparison.every_level not in levels_by_factor:
            yield f"claim {claim.id!r} speaks of every {comparison.every_level}, which is no factor."
