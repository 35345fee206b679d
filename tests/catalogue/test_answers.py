"""A setting or symptom that an article knows is answered with what it means, its bound and the experiment that shows it."""

from pathlib import Path

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.finding import find
from mastery.catalogue.front_matter import parse
from mastery.catalogue.planned import announcing, planned_in
from mastery.errors import UsageError

ARTICLE = """---
id: a03
number: "03"
file: 03-files.md
slug: files
title: Files
part: "Part 1"
summary: What a flush costs.
minutes: 10
status: wip
settings:
  - {name: "sync=off", means: "no flush at all.", bound: "three times the delay", experiment: flush-cost}
  - {name: "sync=on", means: a flush each, experiment: other-cost}
symptoms:
  - {text: "error 40001, could not serialize", means: try again, experiment: other-cost}
---

The text is wrapped in the
middle of its sentences. It speaks of
sync=off as well.

- `later-cost` will measure
  the rest.
- `flush-cost` exists.
- `later-cost` again, and `not-an-item` in passing.
"""
MODULE = '@experiment(id="{0}", question="What is {0}?")\ndef trial(arm):\n    yield f"a piece of {{arm}} serialize"\n'


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "articles" / "files"
    folder.mkdir(parents=True)
    (folder / "article.md").write_text(ARTICLE)
    for name in ("flush-cost", "other-cost"):
        (folder / f"{name.replace('-', '_')}.py").write_text(MODULE.format(name))
    return folder.parent


@pytest.mark.parametrize("words", [["sync=off"], ["SYNC=OFF"]])
def test_a_setting_is_answered_first_with_its_bound_and_its_experiment(tmp_path: Path, words: list[str]) -> None:
    (hit,) = find(words, load_catalogue(folder_of(tmp_path)))
    assert hit.lines == (
        "sync=off: no flush at all. Documented bound: three times the delay. Try it: mastery run flush-cost",
        "It speaks of sync=off as well.",
    )
    assert [each.id for each in hit.experiments] == ["flush-cost"]


@pytest.mark.parametrize("words", [["40001"], ["could", "not", "serialize"]])
def test_a_symptom_is_found_by_its_code_and_by_its_words(tmp_path: Path, words: list[str]) -> None:
    (hit,) = find(words, load_catalogue(folder_of(tmp_path)))
    assert hit.lines == ("error 40001, could not serialize: try again. Try it: mastery run other-cost",)
    assert [each.id for each in hit.experiments] == ["other-cost"]


def test_the_text_is_shown_in_whole_sentences(tmp_path: Path) -> None:
    (hit,) = find(["middle"], load_catalogue(folder_of(tmp_path)))
    assert hit.lines == ("The text is wrapped in the middle of its sentences.",)
    (hit,) = find(["rest"], load_catalogue(folder_of(tmp_path / "again")))
    assert hit.lines == ("`later-cost` will measure the rest.",)


def test_an_article_that_knows_the_setting_comes_before_one_that_repeats_its_words(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    other = root / "words"
    other.mkdir()
    front = (
        ARTICLE.partition("settings:")[0].replace("a03", "a02").replace('"03"', '"02"').replace("title: Files", "title: sync=on")
    )
    (other / "article.md").write_text(f"{front}---\n\n{'Much about sync=on. ' * 9}\n")
    assert [hit.article.front.number for hit in find(["sync=on"], load_catalogue(root))] == ["03", "02"]


def test_an_entry_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="experiment"):
        parse(ARTICLE.replace(", experiment: flush-cost", ""), path=tmp_path / "article.md")


def test_what_is_announced_is_planned_until_it_exists(tmp_path: Path) -> None:
    catalogue = load_catalogue(folder_of(tmp_path))
    assert planned_in(catalogue.article("03")) == ("later-cost",)
    author = announcing("later-cost", catalogue)
    assert author is not None
    assert author.front.number == "03"
    assert announcing("flush-cost", catalogue) is None
    assert announcing("not-an-item", catalogue) is None


def test_every_entry_of_ours_names_an_experiment_of_its_own_article() -> None:
    catalogue = load_catalogue(third_parties=False)
    entries = [(article, each) for article in catalogue.articles for each in (*article.front.settings, *article.front.symptoms)]
    assert len(entries) >= 10
    for article, each in entries:
        assert each.experiment in {listing.id for listing in article.experiments}, each
        assert ".." not in each.sentences()


@pytest.mark.parametrize(
    "word", ["synchronous_commit=off", "40001", "40P01", "innodb_flush_log_at_trx_commit", "appendfsync", "deadlock_timeout"]
)
def test_the_settings_that_people_ask_for_are_answered(word: str) -> None:
    hits = find([word], load_catalogue(third_parties=False))
    assert "Try it: mastery run" in hits[0].lines[0]
