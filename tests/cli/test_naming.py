"""An article's name stands for one experiment, and says so; one that is only announced is refused with what can be run."""

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.naming import check_name
from mastery.cli.terminal import terminal_here
from mastery.errors import UsageError


@pytest.mark.parametrize("name", ["03", "fsync"])
def test_an_article_says_which_experiment_is_run_and_names_the_others(capsys: pytest.CaptureFixture[str], name: str) -> None:
    check_name(name, load_catalogue(third_parties=False), terminal_here())
    assert capsys.readouterr().err == "Article 03 stands for fsync-cost. Its others: crash-loss, rename-dance.\n"


@pytest.mark.parametrize("name", ["fsync-cost", "no-such-name"])
def test_an_experiment_or_an_unknown_name_is_left_to_the_catalogue(capsys: pytest.CaptureFixture[str], name: str) -> None:
    check_name(name, load_catalogue(third_parties=False), terminal_here())
    assert capsys.readouterr().err == ""


def test_an_article_without_experiments_names_the_planned_ones(mastery) -> None:
    said = mastery("run", "15")
    assert said.status == 2
    assert "Article 15 has no experiment yet; planned: leader-loss" in said.err
    assert "These can be run: " in said.err
    assert "fsync-cost" in said.err


def test_a_planned_experiment_names_its_article(mastery) -> None:
    said = mastery("run", "leader-loss")
    assert (said.status, "planned for article 15" in said.err) == (2, True)


def test_in_json_the_refusal_is_the_one_document(mastery) -> None:
    error = mastery("run", "15", "--json").document()["error"]
    assert "leader-loss" in error["message"]


def test_an_article_with_several_experiments_and_no_headline_is_refused_with_their_names() -> None:
    with pytest.raises(UsageError, match="anomaly-matrix, deadlock, isolation-cost"):
        check_name("10", load_catalogue(third_parties=False), terminal_here())
