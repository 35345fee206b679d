"""The tables of a run as plain cells: built once from the document, drawn by the terminal, the page and Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mastery.lab.document import ArmRecord, MetricRecord, RunDocument
from mastery.report import labels, numbers
from mastery.report.driving import load_columns
from mastery.report.plain_text import printable

EMPTY = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what stands above it, its cells from top to bottom, and on which side they line up."""

    heading: str
    cells: tuple[str, ...]
    right: bool = True

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one height; the first names the rows."""

    columns: tuple[Column, ...]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))

    @property
    def headings(self) -> tuple[str, ...]:
        return tuple(column.heading for column in self.columns)


def table_of(document: RunDocument) -> Table:
    """The table that shows this run best: a grid for exact counts over two factors, else one row for each arm."""
    return matrix(document) if is_matrix(document) else result_table(document)


def result_table(document: RunDocument) -> Table:
    """One row for each arm: the primary metric with its interval, the ratio to the baseline, the verdict, then the rest."""
    arms = [arm for arm in document.arms if not arm.skipped]
    names = tuple(labels.short(document, arm) + (" *" if arm.baseline and len(arms) > 1 else "") for arm in arms)
    columns = [Column(labels.heading(document), names, right=False)]
    primary = document.primary
    if primary.role != "guardrail":
        columns += _columns_of(document, primary, arms)
        columns.append(_per_arm(arms, "verdict", lambda arm: _verdict(document, arm), right=False))
    for metric in _others(document, primary):
        columns += _columns_of(document, metric, arms, with_ratio=False)
    columns += [Column(heading, cells) for heading, cells in load_columns(document, arms)]
    return Table(tuple(column for column in columns if any(column.cells)))


def is_matrix(document: RunDocument) -> bool:
    """Whether the run is better shown as a grid: counted exactly, over two factors."""
    return document.rule.reason == "exact" and len(labels.varying(document)) == 2


def matrix(document: RunDocument) -> Table:
    """The primary metric of an exact run over its two factors."""
    # The factor with more levels goes down: columns are what a terminal has few of.
    down, across = sorted(labels.varying(document), key=lambda name: -len(_levels(document, name)))
    primary = document.primary
    rows = _levels(document, down)
    columns = [Column(printable(down), tuple(rows), right=False)]
    cells = {(labels.level(arm.levels[down]), labels.level(arm.levels[across])): arm for arm in document.arms}
    for name in _levels(document, across):
        found = tuple(_cell(document, primary, cells.get((row, name))) for row in rows)
        columns.append(Column(name, found))
    return Table(tuple(columns))


def fit(table: Table, width: int, *, gap: int = 2) -> list[Table]:
    """The table cut into as many as the width needs, each beginning with the column that names the rows."""
    first, *others = table.columns
    groups: list[list[Column]] = [[]]
    used = first.width
    for column in others:
        if groups[-1] and used + gap + column.width > width:
            groups.append([])
            used = first.width
        groups[-1].append(column)
        used += gap + column.width
    return [Table((first, *group)) for group in groups]


def _columns_of(document: RunDocument, metric: MetricRecord, arms: Sequence[ArmRecord], *, with_ratio: bool = True) -> list[Column]:
    name = printable(metric.name)
    if metric.role == "guardrail":
        return [_per_arm(arms, f"{name}, worst", lambda arm: _worst(document, metric, arm))]
    columns = [_per_arm(arms, name, lambda arm: _value(document, metric, arm))]
    if with_ratio:
        columns.append(_per_arm(arms, "against *", lambda arm: _ratio(document, metric, arm)))
    return columns


def _per_arm(arms: Sequence[ArmRecord], heading: str, cell: Callable[[ArmRecord], str], *, right: bool = True) -> Column:
    return Column(heading, tuple(cell(arm) for arm in arms), right)


def _others(document: RunDocument, primary: MetricRecord) -> list[MetricRecord]:
    """Throughput first and then the guardrails: no latency without them."""
    order = {"throughput": 0, "errors": 2}
    rest = [metric for metric in document.metrics if metric is not primary or metric.role == "guardrail"]
    return sorted(rest, key=lambda metric: order.get(metric.name, 1 if metric.role == "guardrail" else 3))


def _value(document: RunDocument, metric: MetricRecord, arm: ArmRecord) -> str:
    estimate = document.estimate(arm.index, metric.name)
    if estimate is None:
        return EMPTY
    if estimate.withheld:
        return "withheld"
    return numbers.with_span(estimate.value, estimate.low, estimate.high, metric.unit)


def _ratio(document: RunDocument, metric: MetricRecord, arm: ArmRecord) -> str:
    effect = document.effect(arm.index, metric.name)
    if effect is None or effect.withheld:
        return EMPTY
    return numbers.against(effect.ratio, effect.low, effect.high)


def _verdict(document: RunDocument, arm: ArmRecord) -> str:
    effect = document.effect(arm.index, document.primary.name)
    if effect is None:
        return "* baseline" if arm.baseline and document.effects else EMPTY
    if effect.withheld:
        return "withheld"
    return f"{effect.verdict or EMPTY}{'?' if effect.indication and effect.verdict != 'inconclusive' else ''}"


def _worst(document: RunDocument, metric: MetricRecord, arm: ArmRecord) -> str:
    record = document.guardrail(arm.index, metric.name)
    if record is None:
        return EMPTY
    worst = record.minimum if metric.better == "higher" else record.maximum
    return numbers.quantity(worst, metric.unit)


def _levels(document: RunDocument, factor: str) -> list[str]:
    """The levels that occur, in the order of the declaration; levels of the reader's own come last."""
    occurring = dict.fromkeys(labels.level(arm.levels[factor]) for arm in document.arms if factor in arm.levels)
    declared = [labels.level(each) for record in document.factors if record.name == factor for each in record.levels]
    return [*(each for each in declared if each in occurring), *(each for each in occurring if each not in declared)]


def _cell(document: RunDocument, metric: MetricRecord, arm: ArmRecord | None) -> str:
    if arm is None:
        return EMPTY
    if arm.skipped:
        return "not run"
    trials = [trial for trial in document.trials if trial.arm == arm.index and metric.name in trial.metrics]
    if not trials:
        return "void"
    worst = (max if metric.better == "lower" else min)(trials, key=lambda trial: trial.metrics[metric.name])
    value, tried = worst.metrics[metric.name], worst.notes.get("orders_tried")
    # A grid of anomalies reads by its empty places: what never happened is a dash, not another number.
    if value == 0:
        return "-"
    return f"{numbers.significant(value, 4)} of {tried:,}" if isinstance(tried, int) else numbers.significant(value, 4)
