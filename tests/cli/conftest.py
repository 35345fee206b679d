"""A home of its own for every test of the command line, with or without runs in it."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The hand-made run document lives with the tests of the reports.
sys.path.append(str(Path(__file__).parents[1] / "report"))

from sample_run import sample_run

from mastery.cli.entry import main
from mastery.store.home import database
from mastery.store.store import Store


@dataclass(frozen=True)
class Said:
    """What one command said and how it ended."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        return json.loads(self.out)


Mastery = Callable[..., Said]


@pytest.fixture
def mastery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Mastery]:
    """The command line in this process, in an empty home."""
    monkeypatch.setenv("MASTERY_HOME", str(tmp_path / "home"))
    for name in ("COLUMNS", "NO_COLOR", "MASTERY_NEEDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Said:
        capfd.readouterr()
        status = main(words)
        out, err = capfd.readouterr()
        return Said(status, out, err)

    yield command


@pytest.fixture
def stored_run(mastery: Mastery) -> str:
    """The id of the sample run, in the store of that home."""
    document = sample_run()
    with Store.open(database()) as store:
        store.close_run(document)
    return document.id
