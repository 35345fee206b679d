"""The recorded runs of the reference machine: one for each experiment, intact, of a named machine, and never anybody's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.lab.document import decode

ARTICLES = load_catalogue(third_parties=False)
RECORDED = sorted(file for article in ARTICLES.articles for file in (article.folder / "reference").glob("*.json"))


def test_every_experiment_has_a_recorded_run_and_every_recorded_run_an_experiment() -> None:
    assert {file.stem for file in RECORDED} == {listing.id for listing in ARTICLES.experiments()}


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_recorded_run_is_intact_whole_and_of_a_named_machine(file: Path) -> None:
    document = decode(file.read_bytes())
    assert (document.experiment, document.article) == (file.stem, file.parent.parent.name)
    assert document.stopped in ("planned", "budget")
    assert document.machine["machine_class"] and document.machine["fingerprint"]
    assert document.target is None
    # It shows what the article says: a refuted claim belongs into the text before it belongs here.
    assert "fails" not in {claim.standing for claim in document.claims}
    assert not any(trial.status == "void" and trial.arm == 0 for trial in document.trials)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_recorded_run_tells_nothing_of_where_it_was_made(file: Path) -> None:
    text = file.read_text()
    assert '"/' not in text, "a text that begins like the path of a file"
    assert "password" not in text


def test_a_decision_from_a_recorded_run_says_whose_figures_they_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mastery", "decide", "fsync-cost", "--reference", "--need", "p99 <= 1 s"]
    said = subprocess.run(command, env={"MASTERY_HOME": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False)
    assert said.returncode in (0, 1), said.stderr
    assert "From reference run fsync-cost-" in said.stdout
    assert "not yours" in said.stdout
