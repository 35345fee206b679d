"""Plot files: SVG without an extra, Vega-Lite as JSON, everything else by the extra or with its name in the refusal."""

import json
import sys

import numpy as np
import pytest
from sample_run import sample_run

from mastery.errors import DomainError, NeedsExtra, UsageError
from mastery.lab.document import RunDocument
from mastery.lab.histogram import Histogram
from mastery.report.picture import picture
from mastery.report.plot_vega import COLOURS, GREY, frontier_spec, percentile_spec


def run_with_histograms() -> RunDocument:
    random = np.random.default_rng(1)
    samples = {str(arm): (random.lognormal(0, 0.4, 2000) * 300_000).astype(np.int64) for arm in range(3)}
    return sample_run(histograms={arm: Histogram.from_samples(each).to_sparse() for arm, each in samples.items()})


def test_dots_as_svg_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert picture(sample_run(), "dots", ".svg").startswith(b"<svg ")


@pytest.mark.parametrize(("kind", "suffix"), [("dots", ".png"), ("percentiles", ".svg"), ("frontier", ".png")])
def test_other_pictures_name_the_extra_that_draws_them(monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(NeedsExtra) as caught:
        picture(run_with_histograms(), kind, suffix)
    assert caught.value.extra == "plots"


def test_a_png_is_drawn_where_the_extra_is_installed() -> None:
    pytest.importorskip("vl_convert")
    assert picture(sample_run(), "dots", ".png").startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["percentiles", "frontier"])
def test_vega_plots_compile_to_svg(kind: str) -> None:
    pytest.importorskip("vl_convert")
    assert b"never" in picture(run_with_histograms(), kind, ".svg")


def test_the_dots_as_vega_lite_hold_each_trial_and_a_log_axis() -> None:
    spec = json.loads(picture(sample_run(), "dots", ".json"))
    counts = sorted(len(layer["data"]["values"]) for layer in spec["layer"])
    assert counts[-1] == 36
    assert "log" in json.dumps(spec)
    assert spec["title"]["text"].startswith("p50 is 141 times lower")


def test_percentile_curves_end_where_four_samples_are_left() -> None:
    spec = percentile_spec(run_with_histograms())
    assert spec is not None
    rarest = max(each["rarity"] for each in spec["layer"][0]["data"]["values"])
    assert rarest == pytest.approx(500)


def test_colours_are_five_and_further_arms_are_grey() -> None:
    spec = percentile_spec(run_with_histograms())
    assert spec is not None
    assert spec["layer"][0]["encoding"]["color"]["scale"]["range"] == list(COLOURS[:3])
    assert GREY not in COLOURS
    assert len(COLOURS) == 5


def test_the_frontier_marks_the_arms_that_are_beaten() -> None:
    spec = frontier_spec(sample_run())
    assert spec is not None
    points = spec["layer"][0]["data"]["values"]
    assert {point["arm"]: point["beaten"] for point in points} == {"every": False, "group": True, "never": False}


@pytest.mark.parametrize(
    ("kind", "changes"), [("percentiles", {"histograms": {}}), ("frontier", {"frontier": None}), ("dots", {"estimates": []})]
)
def test_a_plot_without_data_is_refused_with_the_other_kinds(kind: str, changes: dict[str, object]) -> None:
    with pytest.raises(DomainError, match="no data"):
        picture(sample_run(**changes), kind, ".json")


def test_a_file_ending_that_we_cannot_write_is_a_wrong_word() -> None:
    with pytest.raises(UsageError, match=r"\.pdf"):
        picture(sample_run(), "dots", ".pdf")
