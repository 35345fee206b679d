"""What every article and every experiment keeps to: front matter, declaration, and a run to its end."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.loading import load_experiment
from mastery.components.component import Here
from mastery.lab.experiment import Experiment, Role
from mastery.lab.layout import lay_out
from mastery.lab.planning import Mode

CATALOGUE = load_catalogue()
ARTICLES = {article.folder.name: article for article in CATALOGUE.articles}
EXPERIMENTS = {listing.id: listing for listing in CATALOGUE.experiments()}

# The fewest arms, in the words of the command line; with a server of their own a second a trial, one arm must do.
SMALLEST = {
    "fsync-cost": ["--arms", "sync=every,never", "--budget", "5s"],
    "crash-loss": ["--arms", "sync=every,never", "--set", "crash=process_kill"],
    "rename-dance": ["--arms", "flush=file_and_folder,nothing", "--set", "file_system=ext4", "--set", "name=replacing"],
    "anomaly-matrix": ["--arms", "level=read committed,serializable", "--arms", "case=P4,G2"],
    "isolation-cost": ["--arms", "guard=read committed + for update", "--budget", "22s"],
    "deadlock": ["--arms", "locks=sorted", "--budget", "22s"],
}


def declared(name: str) -> Experiment:
    return load_experiment(name, CATALOGUE)


def test_the_catalogue_finds_articles_and_has_nothing_to_complain_of() -> None:
    assert {"file_io_durability", "isolation_levels"} <= {article.folder.name for article in CATALOGUE.articles}
    assert len(EXPERIMENTS) >= 6
    assert list(CATALOGUE.complaints) == []


@pytest.mark.parametrize("folder", ARTICLES)
def test_an_articles_text_names_its_experiments_and_has_no_placeholder(folder: str) -> None:
    article = ARTICLES[folder]
    text = (article.folder / "article.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    # Put together here, because the same words are refused in this file.
    for word in ("to" + "do:", "fix" + "me", "lorem ipsum", "t.b.d."):
        assert word not in text.lower()
    modules = {path.stem for path in article.folder.glob("*.py")} - {"__init__"}
    assert modules == {listing.file.stem for listing in article.experiments}, "every module of an article is an experiment"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_module_explains_one_experiment_without_loop_clock_or_print(name: str) -> None:
    source = EXPERIMENTS[name].file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert len(source.splitlines()) <= 120
    assert ast.get_docstring(tree), "a module opens with what it is for"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.While)], "the engine owns the loop"
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "print" not in called
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"time", "random", "datetime", "threading", "subprocess"}, "the engine owns clock and chance"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_declaration_is_whole_and_agrees_with_its_listing(name: str) -> None:
    experiment = declared(name)
    assert experiment.id == name
    assert experiment.question == EXPERIMENTS[name].question
    assert experiment.question.endswith("?")
    assert experiment.claims or experiment.documented or experiment.exact
    for factor in experiment.factors:
        assert factor.baseline in factor.levels
    assert sum(metric is experiment.primary for metric in experiment.metrics) == 1
    for claim in experiment.claims:
        assert claim.text.endswith("."), f"{claim.id} is a sentence"
        assert claim.because, f"{claim.id} has its reason"
    if any(metric.role is Role.GUARDRAIL for metric in experiment.metrics):
        assert any(metric.meaning for metric in experiment.metrics), "a guardrail says what it counts"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_quick_form_has_few_arms_with_the_baseline_among_them(name: str) -> None:
    experiment = declared(name)
    found = {resource: Here("as if") for resource in experiment.resources}
    layout = lay_out(experiment, found, mode=Mode.QUICK, budget_s=None, levels={})
    assert sum(arm.is_baseline for arm in layout.arms) == 1
    if not experiment.exact:
        assert len(layout.arms) <= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_smallest_form_of_an_experiment_runs_to_its_end(name: str, tmp_path: Path) -> None:
    assert name in SMALLEST, "a new experiment says here how it is run in small"
    words = [sys.executable, "-m", "mastery", "run", name, "--quick", "--wait", "--json", "--seed", "7", *SMALLEST[name]]
    environment = {**os.environ, "MASTERY_HOME": str(tmp_path)}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=110)
    if ended.returncode == 4:
        pytest.skip(ended.stderr)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert "Traceback" not in ended.stderr
    document = json.loads(ended.stdout)
    assert document["stopped"] in ("planned", "budget")
    void = [trial["cause"] for trial in document["trials"] if trial["status"] != "ok"]
    assert not void, void
    assert document["estimates"]
    assert [each["id"] for each in document["claims"]] == [claim.id for claim in declared(name).claims]
    assert not [each for each in (tmp_path / "cache" / "runs").iterdir() if each.name != ".gate"]
