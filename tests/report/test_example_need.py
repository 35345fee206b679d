"""The need that is offered to be copied can be read again, and the baseline meets it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import sample_run

from mastery.lab.document import Estimate, GuardrailRecord, MetricRecord, RunDocument
from mastery.report.need import example, parse_need

UNITS = ["s", "B", "op/s", "share", "%", "B/s", "bit/s", "record", "query", "1/op", "ratio", ""]


def run_with(value: float, unit: str, better: Any, **more: Any) -> RunDocument:
    metric = MetricRecord(name="it", unit=unit, better=better, role="response", primary=True)
    return msgspec.structs.replace(
        sample_run(), metrics=[metric], guardrails=[], estimates=[Estimate(arm=0, metric="it", value=value, **more)]
    )


@given(st.floats(min_value=1e-9, max_value=1e12), st.sampled_from(UNITS), st.sampled_from(["lower", "higher"]))
def test_every_offered_need_is_read_again_and_met_by_what_was_measured(value: float, unit: str, better: str) -> None:
    document = run_with(value, unit, better)
    text = example(document)
    assert text is not None
    need = parse_need(text, document)
    assert need.allows(value * (1 - 1e-9 if better == "lower" else 1 + 1e-9))
    # Lenient by the third digit only.
    assert need.threshold == pytest.approx(value, rel=0.11)
    assert text.isascii()


@pytest.mark.parametrize(
    ("better", "unit", "value", "text"),
    [
        ("lower", "s", 0.0002674, "it <= 270 us"),
        ("lower", "s", 0.00027, "it <= 270 us"),
        ("higher", "op/s", 20_950.0, "it >= 20000 op/s"),
        ("lower", "record", 15.0, "it <= 15"),
        ("lower", "share", 0.123, "it <= 13 %"),
        ("lower", "s", 0.0, "it <= 0 s"),
    ],
)
def test_the_figure_is_rounded_to_the_lenient_side(better: str, unit: str, value: float, text: str) -> None:
    assert example(run_with(value, unit, better)) == text


def test_the_end_of_the_interval_is_offered_where_there_is_one() -> None:
    assert example(run_with(0.1, "s", "lower", low=0.09, high=0.151)) == "it <= 160 ms"
    assert example(run_with(0.1, "s", "higher", low=0.09, high=0.151)) == "it >= 90 ms"


def test_of_a_guardrail_the_worst_trial_is_offered() -> None:
    record = GuardrailRecord(arm=0, metric="it", trials=6, trials_with_any=1, maximum=7, minimum=0, total=7, share_at_most=0.6)
    document = msgspec.structs.replace(run_with(0, "record", "lower"), estimates=[], guardrails=[record])
    assert example(document) == "it <= 7"
    assert example(msgspec.structs.replace(document, guardrails=[msgspec.structs.replace(record, trials=0)])) is None


def test_without_a_figure_nothing_is_offered() -> None:
    assert example(run_with(0.1, "s", "lower", withheld="unstable")) is None
    assert example(msgspec.structs.replace(run_with(0.1, "s", "lower"), estimates=[])) is None
