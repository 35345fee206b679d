"""The prediction is one question with one key; skipping is allowed, and nothing is asked where nothing can be predicted."""

import io

import pytest

from mastery.cli.asking import ask_prediction
from mastery.cli.terminal import Terminal
from mastery.lab.document import PredictionRecord
from mastery.lab.experiment import Experiment, Factor, Metric, Role, experiment
from mastery.report.prediction import is_intact

NOW = "2026-11-22T10:00:00Z"


def declared(*, role: str = Role.RESPONSE, exact: bool = False) -> Experiment:
    @experiment(
        id="x", question="?", exact=exact, metrics=[Metric("p50", "s", role=role)],
        factors=[Factor("sync", ["every", "never"], baseline="every"), Factor("size", [1], baseline=1)],
    )  # fmt: skip
    def trial(arm):
        yield lambda i: None

    return trial


def ask(key: str, given: Experiment | None = None) -> tuple[PredictionRecord, str]:
    out = io.StringIO()
    chosen = given or declared()
    record = ask_prediction(chosen, chosen.arms(), Terminal(out, io.StringIO()), now=NOW, read=lambda: key)
    return record, out.getvalue()


@pytest.mark.parametrize(("key", "times"), [("1", 1.0), ("3", 10.0), ("5", 1000.0)])
def test_one_key_answers_and_seals(key: str, times: float) -> None:
    record, said = ask(key)
    assert (record.kind, record.answers["times"], record.answers["metric"]) == ("made", times, "p50")
    assert record.sealed.startswith(NOW)
    assert is_intact(record)
    assert "baseline (sync=every)" in said


@pytest.mark.parametrize("key", ["\n", "\r", "", "x", "9"])
def test_any_other_key_skips_without_blame(key: str) -> None:
    record, said = ask(key)
    assert record == PredictionRecord(kind="skipped")
    assert said.rstrip().endswith("skipped")


@pytest.mark.parametrize("given", [declared(exact=True), declared(role=Role.GUARDRAIL)])
def test_counts_and_guardrails_are_not_asked_about(given: Experiment) -> None:
    assert ask("3", given) == (PredictionRecord(kind="skipped"), "")
