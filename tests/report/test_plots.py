"""Plots place every figure on one axis, label arms directly and work without colour, width or Unicode."""

import math
import re
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import sample_run

from mastery.report.axis import Scale, axis_for
from mastery.report.dots import dots_of
from mastery.report.plain_text import to_ascii
from mastery.report.plot_svg import svg
from mastery.report.plot_terminal import plot
from mastery.report.prediction import CHOICES, made

VALUES = st.lists(st.floats(min_value=1e-300, max_value=1e300, allow_nan=False), min_size=1, max_size=20)


@given(VALUES)
def test_an_axis_keeps_the_order_of_values_and_holds_them_all(values: list[float]) -> None:
    axis = axis_for(values, "s")
    places = [axis.place(each) for each in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= each <= 1 for each in places)


@given(VALUES, st.integers(min_value=2, max_value=9))
def test_ticks_lie_inside_the_axis_in_order(values: list[float], most: int) -> None:
    ticks = axis_for(values, "s").ticks(most)
    assert len(ticks) <= most + 1
    assert [each.at for each in ticks] == sorted(each.at for each in ticks)


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6, allow_nan=False).map(lambda x: round(x, 3)), min_size=1, max_size=20))
def test_values_at_or_below_zero_get_no_plain_log_axis(values: list[float]) -> None:
    axis = axis_for([*values, 0.0], "record")
    assert axis.scale is not Scale.LOG
    assert all(math.isfinite(axis.place(each)) for each in values)
    assert axis.ticks()


def test_the_terminal_plot_has_a_labelled_row_for_each_arm_and_fits_the_width() -> None:
    for width in (60, 80, 132):
        lines = plot(dots_of(sample_run()), width).splitlines()
        assert max(map(len, lines)) <= width
        assert [line.split()[0] for line in lines[1:4]] == ["every", "group", "never"]
        assert [line.count("●") for line in lines[1:4]] == [1, 1, 1]


def test_a_smaller_figure_stands_further_to_the_left() -> None:
    lines = plot(dots_of(sample_run())).splitlines()
    assert lines[3].index("●") < lines[1].index("●") < lines[2].index("●")


def test_the_ascii_plot_is_ascii_and_tells_its_signs_apart() -> None:
    text = to_ascii(plot(dots_of(sample_run())))
    assert text.isascii()
    key = text.splitlines()[-1].split()
    assert len({each for each in key if len(each) == 1}) == 5


def test_a_prediction_is_a_hollow_marker_in_its_row_only() -> None:
    guess = made("p50", CHOICES[2], at="2026-11-22T10:14:00Z")
    lines = plot(dots_of(sample_run(prediction=guess))).splitlines()
    assert ["○" in line for line in lines[1:4]] == [False, False, True]
    assert "your prediction" in lines[-1]


def test_a_guardrail_is_plotted_by_its_worst_trial() -> None:
    dots = dots_of(sample_run(), "at_risk")
    assert dots.rows[2].value == max(dots.rows[2].trials)
    assert dots.axis.scale is Scale.SYMLOG


@pytest.mark.parametrize("floor", [1e304, 40, 0])
def test_a_noise_floor_without_meaning_bends_no_axis(floor: float) -> None:
    document = sample_run(noise={"floor": floor})
    dots = dots_of(document)
    assert dots.floor is None
    assert dots.axis.high < 1e-3
    assert plot(dots)


def test_there_is_no_plot_without_a_figure() -> None:
    assert dots_of(sample_run(estimates=[])) is None


@pytest.mark.parametrize(("width", "standalone"), [(680, True), (680, False), (350, False)])
def test_the_svg_is_well_formed_and_draws_every_trial_and_interval(width: int, standalone: bool) -> None:
    text = svg(dots_of(sample_run()), width, standalone=standalone)
    root = ElementTree.fromstring(text)
    circles = [each for each in root.iter() if each.tag.endswith("circle") and each.get("class") == "trial"]
    spans = [each for each in root.iter() if (each.get("class") or "").endswith("span")]
    assert (len(circles), len(spans)) == (36, 3)
    places = [float(each) for each in re.findall(r'c?x="([\d.]+)"', text)]
    assert all(0 <= place <= width for place in places)


def test_a_hostile_label_cannot_break_out_of_the_svg() -> None:
    document = sample_run()
    arms = [msgspec.structs.replace(arm, levels={**arm.levels, "sync": f"</text><script>{arm.index}"}) for arm in document.arms]
    text = svg(dots_of(sample_run(arms=arms)), standalone=True)
    assert "<script>" not in text
    ElementTree.fromstring(text)


def test_a_place_on_the_axis_and_its_value_are_each_others_inverse() -> None:
    for values in ([1e-6, 3e-3], [0.0, 4.0], [0.0, 40_000.0]):
        axis = axis_for(values, "s")
        assert all(math.isclose(axis.value(axis.place(each)), each, abs_tol=1e-12) for each in values)
