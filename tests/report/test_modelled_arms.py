"""What a model worked out looks different from what was measured, in word, label and shape, wherever it is shown."""

import json

import msgspec
import pytest
from sample_run import sample_run

from mastery.lab.document import EffectRecord, RunDocument
from mastery.report import labels, sentences
from mastery.report.dots import dots_of
from mastery.report.figures import result_table
from mastery.report.page import page
from mastery.report.picture import picture
from mastery.report.plain_text import to_ascii
from mastery.report.plot_svg import svg
from mastery.report.plot_terminal import plot


def modelled(*arms: int) -> RunDocument:
    rows = [msgspec.structs.replace(each, notes={"model": "posix"} if each.arm in arms else {}) for each in sample_run().trials]
    return sample_run(trials=rows)


def test_the_label_says_it_in_table_sentence_and_verdict() -> None:
    document = modelled(2)
    assert result_table(document).columns[0].cells == ("every *", "group", "never (modelled)")
    assert labels.named(document, 2) == labels.long(document, 2) == "sync=never (modelled)"
    effect = EffectRecord(arm=2, metric="p50", over=0, ratio=0.5, low=0.4, high=0.6, blocks=9, verdict="better", relevant=True)
    assert sentences.verdict(document, effect).startswith("sync=never (modelled) is better: p50 is")
    assert "modelled" not in sentences.verdict(document, msgspec.structs.replace(effect, arm=1))


@pytest.mark.parametrize("standalone", [False, True])
def test_every_plot_draws_it_hollow(standalone: bool) -> None:
    dots, plain = dots_of(modelled(2)), dots_of(modelled())
    assert dots is not None
    assert plain is not None
    assert svg(dots, standalone=standalone).count('<path class="model"') == 1
    assert '<path class="model"' not in svg(plain, standalone=standalone)
    assert plot(dots).count("◇") == 2  # the row and the key
    assert "◇" not in plot(plain)
    assert "modelled" in to_ascii(plot(dots))


def test_a_plot_of_nothing_measured_has_no_key_for_estimates() -> None:
    dots = dots_of(modelled(0, 1, 2))
    assert dots is not None
    assert "●" not in plot(dots)


def test_the_file_for_other_tools_draws_it_as_a_hollow_diamond() -> None:
    layers = json.loads(picture(modelled(2), "dots", ".json"))["layer"]
    (diamonds,) = [each for each in layers if each["mark"].get("shape") == "diamond"]
    assert [each["arm"] for each in diamonds["data"]["values"]] == ["never (modelled)"]
    assert not diamonds["mark"].get("filled")
    filled = [each for each in layers if each["mark"].get("size") == 70]
    assert "never (modelled)" not in [each["arm"] for layer in filled for each in layer["data"]["values"]]


def test_the_page_explains_the_shape() -> None:
    assert "Hollow diamond: modelled, not measured." in page(modelled(2))
    assert "Hollow diamond" not in page(sample_run())


def test_a_long_title_of_an_axis_keeps_within_the_width() -> None:
    dots = dots_of(modelled(2))
    assert dots is not None
    assert max(map(len, plot(dots, 66).splitlines())) <= 66
