"""Needs in the words of the one who decides: `p99 <= 5 ms`, `at_risk <= 100`, `sync=every: throughput >= 2000 op/s`."""

import math
import re
from dataclasses import dataclass, field

from mastery.errors import UnknownName, UsageError
from mastery.lab.claim import Relation
from mastery.lab.document import ArmRecord, MetricRecord, RunDocument
from mastery.report.numbers import axis_step, quantity

# What a written unit is worth in the base unit of its family; metrics are stored in base units.
_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_SIZE = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_SPEED = {f"{unit}/s": worth for unit, worth in _SIZE.items()}
_RATE = {"op/s": 1.0, "ops/s": 1.0, "/s": 1.0, "op/min": 1 / 60}
_SHARE = {"%": 0.01, "share": 1.0, "": 1.0}
_FAMILIES = {"s": _TIME, "B": _SIZE, "B/s": _SPEED, "op/s": _RATE, "share": _SHARE, "%": {"%": 1.0}}

_NUMBER = r"[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NEED = re.compile(rf"\s*(?P<metric>[\w.-]+?)\s*(?P<relation><=|>=|≤|≥)\s*(?P<number>{_NUMBER})\s*(?P<unit>\S.*?)?\s*")
_RELATIONS = {"<=": Relation.AT_MOST, "≤": Relation.AT_MOST, ">=": Relation.AT_LEAST, "≥": Relation.AT_LEAST}
_FORM = (
    "Write METRIC <= NUMBER UNIT or METRIC >= NUMBER UNIT, for example 'p99 <= 5 ms', 'at_risk <= 100', 'throughput >= 2000 op/s'."
)


@dataclass(frozen=True, slots=True)
class Need:
    """`threshold` is in the metric's stored unit; `selector` names the levels of the arms that are meant, empty for none."""

    text: str
    metric: str
    relation: Relation
    threshold: float
    unit: str
    selector: dict[str, str] = field(default_factory=dict)

    def allows(self, value: float) -> bool:
        """Whether a value satisfies the need."""
        return value <= self.threshold if self.relation is Relation.AT_MOST else value >= self.threshold

    def shown(self, value: float) -> str:
        """A value of the metric, with its unit."""
        return quantity(value, self.unit)


def parse_need(text: str, document: RunDocument) -> Need:
    """Reads one need against the metrics of a run; raises `UsageError` that names what is known."""
    selector, separator, rest = text.rpartition(":")
    found = _NEED.fullmatch(rest)
    if found is None:
        raise UsageError(f"The need {text!r} cannot be read.", remedy=_FORM)
    metric = _metric(found["metric"], document)
    number = float(found["number"].replace("_", ""))
    if not math.isfinite(number):
        raise UsageError(f"The need {text!r} holds a number too large to compare.", remedy=_FORM)
    worth = _worth(found["unit"] or "", metric, text)
    levels = _selector(selector, document) if separator else {}
    return Need(text.strip(), metric.name, _RELATIONS[found["relation"]], number * worth, metric.unit, levels)


def example(document: RunDocument) -> str | None:
    """A need that the baseline meets: its figure on the primary metric, rounded to the lenient side; None without one."""
    metric = document.primary
    at_most = metric.better == "lower"
    value = _baseline_figure(document, metric, at_most=at_most)
    if value is None or not math.isfinite(value):
        return None
    factor, symbol = axis_step(value, metric.unit)
    known = _FAMILIES.get(metric.unit)
    # What counts records is a plain number; of the two ways to write a microsecond this one is on every keyboard.
    unit = symbol.replace("µs", "us") if known and symbol.replace("µs", "us") in known else ""
    amount = _lenient(value / factor if unit or symbol == "%" else value, up=at_most)
    return f"{metric.name} {'<=' if at_most else '>='} {amount} {unit}".rstrip()


def _baseline_figure(document: RunDocument, metric: MetricRecord, *, at_most: bool) -> float | None:
    """The lenient end of what was measured; of a guardrail the worst trial."""
    home = document.baseline.index
    guardrail = document.guardrail(home, metric.name)
    if guardrail is not None:
        return (guardrail.maximum if at_most else guardrail.minimum) if guardrail.trials else None
    estimate = document.estimate(home, metric.name)
    if estimate is None or estimate.withheld:
        return None
    end = estimate.high if at_most else estimate.low
    return estimate.value if end is None else end


def _lenient(value: float, *, up: bool) -> str:
    """Two digits, rounded up or down: `267.4` -> `270`."""
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    # A figure of two digits stays what it is, in spite of the noise in its last bit.
    digits = (math.ceil(value / step - 1e-9) if up else math.floor(value / step + 1e-9)) * step
    places = max(-math.floor(math.log10(step)), 0)
    text = f"{digits:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def arms_of(need: Need, document: RunDocument) -> list[ArmRecord]:
    """The arms that the selector means; without one the baseline. Raises `UnknownName` when no arm has these levels."""
    if not need.selector:
        return [document.baseline]
    arms = [arm for arm in document.arms if all(str(arm.levels.get(name)) == level for name, level in need.selector.items())]
    if not arms:
        wanted = ", ".join(f"{name}={level}" for name, level in need.selector.items())
        labels = [arm.label for arm in document.arms]
        raise UnknownName("arm", wanted, labels, remedy=f"Arms of this run: {'; '.join(labels)}.")
    return arms


def _metric(name: str, document: RunDocument) -> MetricRecord:
    for metric in document.metrics:
        if metric.name == name:
            return metric
    known = [metric.name for metric in document.metrics]
    raise UnknownName("metric", name, known, remedy=f"Metrics of {document.experiment}: {', '.join(known)}.")


def _worth(unit: str, metric: MetricRecord, text: str) -> float:
    """The factor from the written unit to the stored one."""
    family = _FAMILIES.get(metric.unit)
    if family is None:
        # A count: its noun, in singular or plural, may be written or left out.
        noun = metric.unit.removesuffix("s")
        if unit in {"", metric.unit, noun, f"{noun}s"} or (noun.endswith("y") and unit == f"{noun[:-1]}ies"):
            return 1.0
        known = [metric.unit] if metric.unit else []
    elif unit in family:
        return family[unit]
    else:
        known = [each for each in family if each not in {"", "μs"}]
    said = f"the unit {unit!r}" if unit else "no unit"
    remedy = f"Units of {metric.name}: {', '.join(known)}." if known else f"{metric.name} is a plain number: leave the unit out."
    raise UsageError(f"The need {text.strip()!r} has {said}, but {metric.name} is in {metric.unit or 'no unit'}.", remedy=remedy)


def _selector(text: str, document: RunDocument) -> dict[str, str]:
    """`sync=every, record=4096` as levels by factor."""
    levels: dict[str, str] = {}
    for part in re.split(r"[,\s]+", text.strip()):
        name, equals, level = part.partition("=")
        if not equals:
            raise UsageError(
                f"The selector {text!r} cannot be read.", remedy="Write FACTOR=LEVEL, for example 'sync=every: p99 <= 5 ms'."
            )
        factor = next((each for each in document.factors if each.name == name), None)
        if factor is None:
            known = [each.name for each in document.factors]
            raise UnknownName("factor", name, known, remedy=f"Factors of {document.experiment}: {', '.join(known)}.")
        known = [str(each) for each in factor.levels]
        if level not in known:
            raise UnknownName(f"level of {name}", level, known, remedy=f"Levels of {name}: {', '.join(known)}.")
        levels[name] = level
    return levels
