"""What the plot of a run shows, as values: a row for each arm with its dot, interval, trials and prediction."""

from dataclasses import dataclass

from mastery.lab.document import ArmRecord, RunDocument
from mastery.report import labels, numbers, sentences
from mastery.report.axis import Axis, axis_for
from mastery.report.driving import trials_of
from mastery.report.plain_text import printable
from mastery.report.prediction import scored


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: estimate with interval, the trials behind it, and what the reader predicted for it."""

    label: str
    is_baseline: bool
    value: float
    low: float | None
    high: float | None
    trials: tuple[float, ...]
    predicted: tuple[float, ...] = ()
    # Worked out by a model rather than measured: drawn with another shape.
    modelled: bool = False


@dataclass(frozen=True, slots=True)
class Dots:
    """A dot plot: rows from top to bottom over one axis; `floor` are the ends of the noise band around the baseline."""

    title: str
    subtitle: str
    metric: str
    better: str
    axis: Axis
    rows: tuple[Row, ...]
    baseline: float | None
    floor: tuple[float, float] | None
    # What the dots are: the estimates, or of a guardrail the worst trials.
    dot: str = "estimate"

    @property
    def axis_title(self) -> str:
        counted = f" in {numbers.plural(self.axis.unit, 2)}" if numbers.is_noun(self.axis.unit) else ""
        return f"{self.metric}{counted}, {self.axis.scale}, {self.better} is better"


def dots_of(document: RunDocument, metric_name: str | None = None) -> Dots | None:
    """The plot of one metric, the primary one by default; None where no arm has a figure for it."""
    metric = document.metric(metric_name) if metric_name else document.primary
    found = [_row(document, arm, metric.name) for arm in document.arms if not arm.skipped]
    rows = tuple(row for row in found if row is not None)
    if not rows:
        return None
    baseline = next((row.value for row in rows if row.is_baseline), None)
    floor = _floor(document, baseline)
    everything = [each for row in rows for each in (row.value, *row.trials, *row.predicted, row.low, row.high) if each is not None]
    axis = axis_for([*everything, *(floor or ())], metric.unit)
    title = sentences.headline(document) if metric == document.primary else f"{printable(metric.name)} by arm"
    dot = "worst trial" if metric.role == "guardrail" else "estimate"
    return Dots(title, sentences.provenance(document), printable(metric.name), metric.better, axis, rows, baseline, floor, dot)


def _row(document: RunDocument, arm: ArmRecord, metric: str) -> Row | None:
    trials = tuple(trial.metrics[metric] for trial in trials_of(document, arm.index) if metric in trial.metrics)
    estimate = document.estimate(arm.index, metric)
    if estimate is not None and not estimate.withheld:
        value, low, high = estimate.value, estimate.low, estimate.high
    elif trials and document.metric(metric).role == "guardrail":
        # A guardrail is shown by its worst trial: a median would hide what it guards against.
        value, low, high = (min if document.metric(metric).better == "higher" else max)(trials), None, None
    else:
        return None
    predicted, modelled = _predicted(document, arm, metric), labels.is_modelled(document, arm.index)
    return Row(labels.short(document, arm), arm.baseline, value, low, high, trials, predicted, modelled)


def _predicted(document: RunDocument, arm: ArmRecord, metric: str) -> tuple[float, ...]:
    """Where the reader expected the arm to lie; known only for the arm that their prediction is scored on."""
    score = scored(document)
    if score is None or score.expected is None or score.arm != arm.index or metric != document.prediction.answers.get("metric"):
        return ()
    return (score.expected,)


def _floor(document: RunDocument, baseline: float | None) -> tuple[float, float] | None:
    share = sentences.noise_floor(document)
    if baseline is None or baseline <= 0 or share is None:
        return None
    return baseline / (1 + share), baseline * (1 + share)
