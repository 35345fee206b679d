"""Figures carry units, few digits, and intervals that contain them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.report import numbers

POSITIVE = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (312e-6, "s", "312 µs"),
        (0.99996e-3, "s", "1 ms"),
        (2.2e-9, "s", "2.2 ns"),
        (0, "s", "0 s"),
        (123.4, "s", "123 s"),
        (59362.0, "op/s", "59,400 op/s"),
        (4096, "B", "4 KiB"),
        (16, "record", "16 records"),
        (1, "record", "1 record"),
        (81_896, "record", "81,896 records"),
        (0.137, "share", "13.7 %"),
        (3, "anomaly", "3 anomalies"),
        (2.5, "", "2.5"),
    ],
)
def test_a_quantity_is_scaled_to_its_unit(value: float, unit: str, text: str) -> None:
    assert numbers.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(14.2, "14 times higher"), (1 / 14.2, "14 times lower"), (1.23, "23 % higher"), (0.8, "20 % lower"), (1.0, "the same")],
)
def test_a_ratio_is_told_as_times_or_as_a_share(ratio: float, text: str) -> None:
    assert numbers.times(ratio) == text


def test_the_interval_of_a_ratio_turns_round_with_it() -> None:
    assert numbers.times_span(1 / 14, 1 / 17, 1 / 12) == "12 to 17 times"
    assert numbers.times_span(1.1, 0.97, 1.2) == "−3 % to +20 %"


@given(POSITIVE)
def test_rounding_keeps_three_digits_of_the_value(value: float) -> None:
    assert abs(float(numbers.significant(value).replace(",", "")) - value) <= value * 0.005001


@given(st.tuples(POSITIVE, POSITIVE, POSITIVE), st.sampled_from(["s", "B", "op/s", "record"]))
def test_a_shown_interval_contains_the_shown_figure(values: tuple[float, float, float], unit: str) -> None:
    low, value, high = sorted(values)
    shown = re.findall(r"[\d,.]*\d", numbers.with_span(value, low, high, unit))
    figure, first, last = (float(each.replace(",", "")) for each in shown)
    # The ends may carry more digits than the figure where they would look alike otherwise.
    assert first * 0.995 <= figure <= last * 1.005


@given(POSITIVE, POSITIVE)
def test_the_ends_of_an_interval_are_told_apart_when_they_differ_visibly(low: float, high: float) -> None:
    if high > low * 1.001:
        first, last = numbers.ratio_with_span(low, low, high).split("(")[1].rstrip(")").split(" to ")
        assert first != last


def test_waiting_times_read_like_a_clock() -> None:
    assert [numbers.seconds(each) for each in (0.2, 8, 80, 120, 7500)] == ["under 1 s", "8 s", "1 min 20 s", "2 min", "2 h 5 min"]


def test_a_ratio_in_a_column_says_multiplied_or_divided() -> None:
    assert numbers.against(1 / 929, 1 / 1770, 1 / 304) == "÷ 929 (304 to 1,770)"
    assert numbers.against(0.4, 0.2, 1.4) == "× 0.4 (0.2 to 1.4)"
    assert numbers.against(2.1, 0.82, 4.9) == "× 2.1 (0.82 to 4.9)"
