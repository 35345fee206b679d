"""The reader's prediction: what was asked, the seal on the answer, and how far it was from what was measured."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import rfc8785

from mastery.lab.document import EffectRecord, PredictionRecord, RunDocument
from mastery.report import labels, numbers
from mastery.report.plain_text import printable


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: the key that gives it, its words, and how many times it says that the two arms differ."""

    key: str
    words: str
    times: float


# A step of half a decade: finer guesses would claim more than anybody knows beforehand.
CHOICES = (
    Choice("1", "the same", 1.0),
    Choice("2", "about 3 times", 3.0),
    Choice("3", "about 10 times", 10.0),
    Choice("4", "about 100 times", 100.0),
    Choice("5", "more", 1000.0),
)
_MORE = CHOICES[-1].times
# Half a step to the next choice, on the log scale: nearer than this no other answer would have been better.
_HIT = 0.25


@dataclass(frozen=True, slots=True)
class Score:
    """How a prediction turned out; `distance` is |log10(predicted / measured)|, None where noise decides."""

    arm: int
    predicted: float
    measured: float
    distance: float | None
    # Where the prediction puts the arm's figure, for the hollow marker of the plot.
    expected: float | None
    sentence: str


def made(metric: str, choice: Choice, *, at: str) -> PredictionRecord:
    """A prediction sealed with the time (UTC, ISO 8601) and the hash of what was answered."""
    answers: dict[str, Any] = {"metric": metric, "times": choice.times, "words": choice.words}
    return PredictionRecord(kind="made", sealed=f"{at} sha256:{_digest(at, answers)}", answers=answers)


def skipped() -> PredictionRecord:
    """Skipping is allowed and recorded."""
    return PredictionRecord(kind="skipped")


def is_intact(record: PredictionRecord) -> bool:
    """Whether the answers are those that were sealed."""
    at, _, digest = record.sealed.partition(" sha256:")
    return _digest(at, record.answers) == digest


def _digest(at: str, answers: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps({"at": at, "answers": answers})).hexdigest()


def scored(document: RunDocument) -> Score | None:
    """The prediction held against the arm that differs most from the baseline; None where none was made."""
    answers = document.prediction.answers
    predicted = answers.get("times")
    if document.prediction.kind != "made" or not isinstance(predicted, int | float) or predicted < 1:
        return None
    most = _most_different(document, str(answers.get("metric", "")))
    if most is None:
        return None
    measured = max(most.ratio, 1 / most.ratio)
    arm, _ = labels.difference(document, most.arm, most.over)
    said = f"You said {_words(predicted)}; {arm} differs most, by {_words(measured)}"
    if most.low is None or most.high is None or (most.verdict == "inconclusive" and predicted > 1):
        return Score(most.arm, predicted, measured, None, None, f"{said}, but noise decides here: inconclusive, not scored.")
    # Whoever said "more" is right about everything beyond.
    reached = min(measured, _MORE) if predicted >= _MORE else measured
    distance = abs(math.log10(predicted / reached))
    verdict = "a hit" if distance <= _HIT else f"off by a factor of {numbers.ratio(10**distance)}"
    seal = "" if is_intact(document.prediction) else " The seal does not fit the answer."
    sentence = f"{said}: {verdict} (score {numbers.significant(distance, 2)}, 0 is exact).{seal}"
    return Score(most.arm, predicted, measured, distance, _expected(document, most, predicted), sentence)


def _most_different(document: RunDocument, metric: str) -> EffectRecord | None:
    found = [each for each in document.effects if each.metric == metric and not each.withheld and each.ratio > 0]
    home = document.baseline.index
    return max((each for each in found if each.over == home), key=lambda each: abs(math.log(each.ratio)), default=None)


def _expected(document: RunDocument, effect: EffectRecord, predicted: float) -> float | None:
    home = document.estimate(effect.over, effect.metric)
    if home is None:
        return None
    return home.value * predicted if effect.ratio >= 1 else home.value / predicted


def _words(times: float) -> str:
    if times < 1.05:
        return "the same"
    return f"{printable(numbers.ratio(times))} times"
