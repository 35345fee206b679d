from pathlib import Path

import pytest

from mastery.lab.printable import first_unprintable, printable, printable_throughout
from mastery.store.home import cache_folder, config_folder, database, home


def test_one_variable_replaces_every_folder() -> None:
    chosen = {"MASTERY_HOME": "/srv/mastery", "XDG_DATA_HOME": "/elsewhere"}
    assert home(chosen) == Path("/srv/mastery")
    assert database(chosen) == Path("/srv/mastery/mastery.sqlite")
    assert cache_folder(chosen) == Path("/srv/mastery/cache")
    assert config_folder(chosen) == Path("/srv/mastery/config")


def test_a_relative_home_does_not_move_with_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home({"MASTERY_HOME": "here"}) == tmp_path / "here"


def test_an_empty_variable_is_none() -> None:
    for folder in (home, cache_folder, config_folder):
        assert folder({"MASTERY_HOME": ""}) == folder({})
        assert folder({}).is_absolute()
        assert folder({}).name == "mastery"


def test_what_a_program_wrote_is_made_fit_for_a_terminal() -> None:
    hostile = "\x1b[31mred\x1b[0m\r\nsecond\rthird\tend\x9b2J\u202e"
    assert printable(hostile) == "[31mred[0m\nsecond\nthird\tend2J"
    assert first_unprintable(hostile) == "U+001B"
    assert first_unprintable(printable(hostile)) is None
    assert printable_throughout({"a\x07": [hostile, 1, None]}) == {"a": [printable(hostile), 1, None]}
