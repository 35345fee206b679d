"""The catalogue finds articles by their folders and says what is wrong with those it cannot take."""

from pathlib import Path

import pytest

from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.catalogue.declared import experiments_in
from mastery.catalogue.finding import find
from mastery.catalogue.front_matter import Status, identifier_of, parse
from mastery.errors import UnknownName, UsageError

FRONT = """---
id: {id}
number: "{number}"
file: {number}-{name}.md
slug: {name}-slug
title: All about {name}
part: "Part 1"
summary: What {name} costs.
minutes: 10
status: wip
{more}---

The text about max_wal_size.
"""
MODULE = """
raise RuntimeError("listing must not execute this file")

@experiment(
    id="{id}",
    question="What does "
    "it cost?",
)
def trial(arm):
    yield
"""


def write_article(root: Path, name: str, number: str, *ids: str, more: str = "", id_: str | None = None) -> Path:
    folder = root / name.replace("-", "_")
    folder.mkdir(parents=True)
    text = FRONT.format(id=id_ or f"a{number.lower().replace('-', '')}", number=number, name=name, more=more)
    (folder / "article.md").write_text(text)
    for each in ids:
        (folder / f"{each.replace('-', '_')}.py").write_text(MODULE.format(id=each))
    return folder


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    write_article(tmp_path, "process-cost", "01", "spawn-cost", "pool-size")
    write_article(tmp_path, "memory", "02", "page-fault")
    write_article(tmp_path, "design", "SD-01")
    headline = "quick_reference: {row: r, sides: [a, b], headline: {experiment: tail, metric: p50, arm: {x: 1}, over: {x: 2}}}\n"
    write_article(tmp_path, "network", "10", "head", "tail", more=headline)
    return load_catalogue(tmp_path)


def test_articles_come_in_the_order_of_the_series_with_their_experiments(catalogue: Catalogue) -> None:
    assert [each.front.number for each in catalogue.articles] == ["01", "02", "10", "SD-01"]
    assert [each.id for each in catalogue.experiments()] == ["pool-size", "spawn-cost", "page-fault", "head", "tail"]
    assert catalogue.complaints == ()


def test_listing_an_experiment_reads_its_question_without_executing_the_file(catalogue: Catalogue) -> None:
    assert {each.question for each in catalogue.experiments()} == {"What does it cost?"}


@pytest.mark.parametrize("name", ["2", "02", "a02", "memory", "memory-slug", "02-memory.md", "02-memory", "MEMORY"])
def test_every_name_of_an_article_means_the_same_article(catalogue: Catalogue, name: str) -> None:
    assert catalogue.article(name).identifier == "memory"


@pytest.mark.parametrize("name", ["SD-01", "sd01", "sd1", "SD-1"])
def test_a_system_design_is_not_taken_for_the_article_of_its_number(catalogue: Catalogue, name: str) -> None:
    assert catalogue.article(name).front.number == "SD-01"


def test_an_article_stands_for_its_only_experiment_or_for_its_headline(catalogue: Catalogue) -> None:
    assert catalogue.experiment("02").id == "page-fault"
    assert catalogue.experiment("10").id == "tail"


def test_an_article_with_several_experiments_and_no_headline_asks_which(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="pool-size, spawn-cost"):
        catalogue.experiment("01")
    with pytest.raises(UsageError, match="no experiment yet"):
        catalogue.experiment("sd-01")


def test_an_unknown_name_is_answered_with_the_nearest_ones(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownName, match="'spawn-cost'"):
        catalogue.experiment("spwan-cost")
    with pytest.raises(UnknownName, match="memory"):
        catalogue.article("memry")


def test_a_module_with_a_syntax_error_costs_only_its_own_experiments(tmp_path: Path) -> None:
    folder = write_article(tmp_path, "memory", "02", "page-fault")
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    catalogue = load_catalogue(tmp_path)
    assert [each.id for each in catalogue.experiments()] == ["page-fault"]
    assert [(each.file.name, each.line) for each in catalogue.complaints] == [("broken.py", 2)]


def test_two_experiments_of_one_id_are_a_complaint_and_the_first_keeps_the_id(tmp_path: Path) -> None:
    write_article(tmp_path, "first", "01", "same")
    write_article(tmp_path, "second", "02", "same")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.experiment("same").article == "first"
    assert "declared" in catalogue.complaints[0].text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"minutes: 10": "minutes: ten"}, r"\$\.minutes"),
        ({"status: wip": "status: done"}, r"\$\.status"),
        ({"minutes: 10": "minutes: 10\nauthor: me"}, "author"),
        ({"summary: What memory costs.": "summary: " + "x" * 161}, r"\$\.summary"),
        ({"minutes: 10": "minutes: [10"}, "line 10"),
        ({'number: "02"': "number: 02"}, r"\$\.number"),
    ],
)
def test_wrong_front_matter_is_refused_with_its_field(tmp_path: Path, change: dict[str, str], named: str) -> None:
    text = FRONT.format(id="a02", number="02", name="memory", more="")
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(UsageError, match=named):
        parse(text, path=tmp_path / "article.md")


def test_an_article_without_front_matter_is_a_complaint_and_the_others_stay(tmp_path: Path) -> None:
    write_article(tmp_path, "good", "01")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "article.md").write_text("# No front matter\n")
    catalogue = load_catalogue(tmp_path)
    assert [each.identifier for each in catalogue.articles] == ["good"]
    assert "no front matter" in catalogue.complaints[0].text


def test_a_folder_that_does_not_exist_is_a_complaint_rather_than_a_crash(tmp_path: Path) -> None:
    assert load_catalogue(tmp_path / "nowhere").complaints[0].file == tmp_path / "nowhere"


def test_an_experiment_whose_id_is_computed_is_not_listed(tmp_path: Path) -> None:
    file = tmp_path / "computed.py"
    file.write_text('@experiment(id="a" + "b", question="?")\ndef trial(arm):\n    yield\n')
    assert experiments_in(file) == ()


@pytest.mark.parametrize("words", [["max_wal_size"], ["MAX-WAL-SIZE"], ["max wal size", "spawn"]])
def test_words_find_the_article_that_speaks_of_them(catalogue: Catalogue, words: list[str]) -> None:
    hits = find(words, catalogue)
    assert hits
    assert all("max_wal_size" in " ".join(hit.lines) for hit in hits)


def test_a_word_in_the_title_ranks_before_a_word_in_the_text(catalogue: Catalogue) -> None:
    assert find(["memory"], catalogue)[0].article.identifier == "memory"
    assert find(["no", "such", "word", "anywhere-at-all"], catalogue) == ()


def test_our_own_articles_are_in_order_and_their_folders_follow_their_file_names() -> None:
    catalogue = load_catalogue(third_parties=False)
    assert catalogue.complaints == ()
    for article in catalogue.articles:
        assert article.identifier == identifier_of(article.front.file)
        assert article.front.status in Status
    assert {"03", "10"} <= {article.front.number for article in catalogue.articles}


def test_a_company_adds_its_articles_by_an_entry_point_and_they_are_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "their_articles"
    write_article(package, "queue", "40", "queue-cost")
    (package / "__init__.py").write_text("raise RuntimeError('listing must not import this')\n")
    metadata = tmp_path / "site" / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mastery.articles]\nacme = their_articles\ngone = no_such_package_here\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    catalogue = load_catalogue()
    article = catalogue.article("queue")
    assert (article.origin, article.front.number) == ("acme", "40")
    assert catalogue.experiment("queue-cost").file.parent == article.folder
    assert catalogue.articles[-1] == article
    assert any("no_such_package_here" in each.text for each in catalogue.complaints)


def test_the_sentences_of_an_experiment_are_found_and_shown(tmp_path: Path) -> None:
    folder = write_article(tmp_path, "memory", "02", "page-fault")
    with (folder / "page_fault.py").open("a") as module:
        module.write('\nMEANING = "how far overcommit_memory lets\\n    a process reserve"\n')
    hits = find(["overcommit"], load_catalogue(tmp_path))
    assert hits[0].lines == ("how far overcommit_memory lets a process reserve",)
