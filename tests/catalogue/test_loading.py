"""Loading an experiment: a user's own file works like ours, and a broken one is named with its line."""

import sys
from pathlib import Path

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.loading import load_experiment
from mastery.errors import BrokenExperiment, UnknownName, UsageError

EXPERIMENT = """
from mastery.lab.experiment import Factor, Metric, experiment

@experiment(id="{id}", question="Does it?", factors=[Factor("n", [1, 2], baseline=1)], metrics=[Metric("p50", "s")])
def {name}(arm):
    yield lambda i: None
"""


def load(file: Path | str):
    return load_experiment(str(file), load_catalogue(third_parties=False))


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_file_of_the_users_own_is_loaded_and_leaves_no_trace_on_the_path(tmp_path: Path) -> None:
    before = list(sys.path)
    write(tmp_path, "LEVELS = [1, 2]\n", "neighbour.py")
    experiment = load(write(tmp_path, "import neighbour\n" + EXPERIMENT.format(id="mine", name="mine")))
    assert (experiment.id, [arm.n for arm in experiment.arms()]) == ("mine", [1, 2])
    assert sys.path == before
    sys.modules.pop("neighbour")


def test_two_files_of_the_same_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = load(write(tmp_path, EXPERIMENT.format(id="one", name="f")))
    second = load(write(tmp_path / "other", EXPERIMENT.format(id="two", name="f")))
    assert first.trial.__module__ != second.trial.__module__


def test_a_neighbour_cannot_take_the_place_of_a_module_of_the_standard_library(tmp_path: Path) -> None:
    write(tmp_path, "raise RuntimeError('imported the neighbour')\n", "colorsys.py")
    sys.modules.pop("colorsys", None)
    assert load(write(tmp_path, "import colorsys\n" + EXPERIMENT.format(id="mine", name="f"))).id == "mine"


def test_one_of_several_experiments_of_a_file_is_named_after_two_colons(tmp_path: Path) -> None:
    file = write(tmp_path, EXPERIMENT.format(id="one", name="f") + EXPERIMENT.format(id="two", name="g"))
    with pytest.raises(UsageError, match=r"declares 2 experiments: one, two") as caught:
        load(file)
    assert f"{file}::one" in caught.value.remedy
    assert load(f"{file}::two").id == "two"
    with pytest.raises(UnknownName, match="'tow'"):
        load(f"{file}::tow")


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("x = 1\ndef f(:\n", 2, "invalid syntax"),
        ("x = 1\n\nraise ValueError('bad level')\n", 3, "ValueError: bad level"),
        ("\nimport no_such_module_at_all\n", 2, "no_such_module_at_all"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("import sys\nsys.exit(1)\n", 2, "SystemExit"),
    ],
)
def test_a_file_that_does_not_load_is_named_with_its_own_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    before = set(sys.modules)
    file = write(tmp_path, text)
    with pytest.raises(BrokenExperiment) as caught:
        load(file)
    assert f"{file}, line {line}" in caught.value.message
    assert word in caught.value.message
    assert not {name for name in set(sys.modules) - before if name.startswith("mastery_file_")}


def test_a_declaration_that_contradicts_itself_keeps_its_own_words(tmp_path: Path) -> None:
    broken = EXPERIMENT.format(id="mine", name="f").replace("baseline=1", "baseline=7")
    with pytest.raises(BrokenExperiment, match="baseline 7"):
        load(write(tmp_path, broken))


def test_a_file_without_an_experiment_or_without_existence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenExperiment, match="declares no experiment"):
        load(write(tmp_path, "x = 1\n"))
    with pytest.raises(UsageError, match="There is no file"):
        load(tmp_path / "missing.py")


def test_an_unknown_experiment_is_answered_with_the_way_to_the_list() -> None:
    with pytest.raises(UnknownName) as caught:
        load("no-such-experiment")
    assert "mastery list" in caught.value.remedy
