"""A prediction is sealed, scored on the log scale, and not graded by noise."""

import math
from typing import Any

import msgspec
import pytest
from sample_run import sample_run

from mastery.lab.document import EffectRecord, PredictionRecord
from mastery.report.prediction import CHOICES, Choice, is_intact, made, scored, skipped

AT = "2026-11-22T10:14:00Z"


def score_of(choice: Choice, **effect: Any):
    given: dict[str, Any] = {"arm": 2, "metric": "p50", "over": 0, "ratio": 0.1, "low": 0.09, "high": 0.11, "blocks": 12}
    effects = [EffectRecord(**{**given, "verdict": "better", **effect})]
    return scored(sample_run(effects=effects, prediction=made("p50", choice, at=AT)))


@pytest.mark.parametrize(
    ("choice", "ratio", "distance"),
    [
        (CHOICES[2], 0.1, 0),
        (CHOICES[2], 10.0, 0),
        (CHOICES[1], 0.01, math.log10(100 / 3)),
        (CHOICES[0], 1.0, 0),
        (CHOICES[3], 10, 1),
    ],
)
def test_the_score_is_the_distance_of_the_logarithms(choice: Choice, ratio: float, distance: float) -> None:
    score = score_of(choice, ratio=ratio)
    assert score.distance == pytest.approx(distance)


def test_whoever_said_more_is_right_about_everything_beyond() -> None:
    assert score_of(CHOICES[4], ratio=1e-6).distance == 0
    assert score_of(CHOICES[4], ratio=0.1).distance == pytest.approx(2)


@pytest.mark.parametrize("effect", [{"verdict": "inconclusive", "ratio": 1.3}, {"low": None, "high": None}])
def test_nobody_is_graded_by_noise(effect: dict[str, Any]) -> None:
    score = score_of(CHOICES[1], **effect)
    assert score.distance is None
    assert "inconclusive" in score.sentence


def test_the_same_is_a_fair_answer_to_an_inconclusive_run() -> None:
    assert score_of(CHOICES[0], verdict="inconclusive", ratio=1.02, low=0.9, high=1.1).distance is not None


def test_a_skipped_prediction_has_no_score_and_no_blame() -> None:
    assert scored(sample_run(prediction=skipped())) is None
    assert skipped() == PredictionRecord(kind="skipped")


def test_the_expected_figure_lies_on_the_side_where_the_arm_was_measured() -> None:
    home = sample_run().estimate(0, "p50").value
    assert score_of(CHOICES[2], ratio=0.05).expected == pytest.approx(home / 10)
    assert score_of(CHOICES[2], ratio=20).expected == pytest.approx(home * 10)


def test_a_changed_answer_does_not_fit_its_seal() -> None:
    record = made("p50", CHOICES[1], at=AT)
    assert is_intact(record)
    forged = msgspec.structs.replace(record, answers={**record.answers, "times": 100.0})
    assert not is_intact(forged)
    assert "seal does not fit" in scored(sample_run(prediction=forged)).sentence


def test_a_withheld_effect_is_not_scored() -> None:
    assert score_of(CHOICES[1], withheld="fio disagrees", verdict=None) is None
