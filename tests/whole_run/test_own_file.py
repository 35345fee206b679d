"""A user's own experiment file is treated as ours are, from the run to the decision."""

import pytest
from whole_run_kit import QUICK

pytestmark = pytest.mark.slow

WITH_NEIGHBOUR = """
import json as neighbour_of_nobody

from levels import LEVELS
from mastery.lab import Factor, Metric, experiment


@experiment(
    id="summing",
    question="How long does a sum take?",
    factors=[Factor("size", LEVELS, baseline=1)],
    metrics=[Metric("p50", "s", better="lower", primary=True)],
    overhead_s=0.0,
)
def summing(arm):
    from work import total

    yield lambda i: total(arm.size)


@experiment(
    id="other",
    question="Another one?",
    factors=[Factor("size", [1, 2], baseline=1)],
    metrics=[Metric("p50", "s", better="lower", primary=True)],
)
def other(arm):
    yield lambda i: None
"""


def test_an_own_file_with_neighbours_runs_and_is_compared_decided_cited_and_shown(home):
    (home.base / "levels.py").write_text("LEVELS = [1, 50]\n")
    (home.base / "work.py").write_text("def total(size):\n    return sum(range(500 * size))\n")
    (home.base / "mine.py").write_text(WITH_NEIGHBOUR)
    budget = ("--quick", "--budget", "1.4s", "--wait")

    ambiguous = home.mastery("run", "./mine.py", *budget)
    assert ambiguous.status == 2
    assert "./mine.py::summing" in ambiguous.err or "mine.py::summing" in ambiguous.err

    first = home.mastery("run", "./mine.py::summing", *budget, "--seed", "7", "--require", "size=1: p50 <= 1 s")
    assert first.status == 0, first.err
    assert "executes the code" in first.err
    second = home.mastery("run", "./mine.py::summing", *budget, "--json")
    document = second.document()
    assert (document["experiment"], document["article"], document["stopped"] == "interrupted") == ("summing", "", False)
    (effect,) = [each for each in document["effects"] if each["metric"] == "p50"]
    assert effect["ratio"] > 5, "fifty times the work takes longer"

    runs = [row["id"] for row in home.runs()]
    assert len(runs) == 2
    assert home.mastery("results", "summing").status == 0
    assert home.mastery("compare", *runs).status == 0
    # One shape of need for each: a user's metric is as good as ours.
    decided = home.mastery("decide", "summing", "--need", "p50 <= 1 s")
    assert decided.status in (0, 1), decided.err
    assert "size" in decided.out
    assert home.mastery("cite", runs[0]).status == 0
    assert home.mastery("results", "summing", "--html", "page.html").status == 0
    page = (home.base / "page.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "How long does a sum take?" in page
    assert "://" not in page.replace("http://www.w3.org", ""), "the page loads nothing from elsewhere"


def test_an_own_file_is_found_from_any_folder_and_by_its_absolute_path(home):
    said = home.mastery("run", str(home.base / "tiny.py"), *QUICK["tiny"][1:], "--wait", "--json")
    assert said.document()["experiment"] == "tiny"
