"""Commands that read: they make no files, speak JSON when asked, and lead on."""

import base64
import json
import re
import shlex
from pathlib import Path

import pytest
from sample_run import sample_run

from mastery.cli.show import next_steps
from mastery.lab.document import decode

READING = [("list",), ("find", "fsync"), ("results",), ("claims",), ()]


@pytest.mark.parametrize("words", READING)
def test_reading_in_an_empty_home_makes_no_file_and_says_how_to_begin(mastery, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = mastery(*words)
    assert said.status == 0
    assert "mastery run" in said.out
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("words", READING)
def test_every_reading_command_gives_exactly_one_json_document(mastery, stored_run: str, words: tuple[str, ...]) -> None:
    said = mastery(*words, "--json")
    assert said.status == 0
    assert isinstance(said.document(), dict)


def test_the_list_in_json_gives_number_slug_status_and_experiments(mastery) -> None:
    articles = {each["number"]: each for each in mastery("list", "--json").document()["articles"]}
    assert articles["03"]["slug"] == "file-io-durability-why-fsync-is-your-best-friend-and-worst-enemy"
    assert articles["03"]["status"] == "wip"
    assert "fsync-cost" in [each["id"] for each in articles["03"]["experiments"]]


def test_the_list_fits_eighty_columns(mastery) -> None:
    assert max(map(len, mastery("list").out.splitlines())) <= 80


def test_a_found_experiment_leads_to_its_last_run(mastery, stored_run: str) -> None:
    assert f"mastery results {stored_run}" in mastery("find", "fsync").out


def test_words_that_occur_nowhere_are_no_error(mastery) -> None:
    said = mastery("find", "zzzyzx")
    assert (said.status, "Nothing speaks of zzzyzx" in said.out) == (0, True)


@pytest.mark.parametrize("name", ["latest", "fsync-cost", "20261122", "03", "fsync"])
def test_a_run_is_found_by_id_beginning_experiment_article_or_as_the_latest(mastery, stored_run: str, name: str) -> None:
    said = mastery("results", name)
    assert said.status == 0
    assert "p50 is 141 times lower" in said.out
    assert f"mastery cite {stored_run}" in said.out


def test_the_result_fits_eighty_columns_and_is_plain_when_piped(mastery, stored_run: str) -> None:
    out = mastery("results", "latest").out
    assert max(len(line) for line in out.splitlines() if not line.startswith("  mastery ")) <= 80
    assert "\x1b" not in out


def test_a_run_in_json_is_the_stored_document_byte_for_byte(mastery, stored_run: str) -> None:
    document = decode(mastery("results", stored_run, "--json").out.rstrip("\n").encode())
    assert document.id == stored_run


def test_a_run_is_written_as_page_markdown_and_picture(mastery, stored_run: str, tmp_path: Path) -> None:
    said = mastery("results", "--html", "run.html", "--md", "run.md", "--plot", "run.svg")
    assert said.status == 0
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "run.md").read_text().startswith("# p50 is 141 times lower")
    assert (tmp_path / "run.svg").read_text().startswith("<svg ")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    inside = re.search(r"base64,([^\"]+)", (tmp_path / "run.html").read_text())
    assert inside
    assert json.loads(base64.b64decode(inside.group(1)))["id"] == stored_run


def test_markdown_without_a_file_goes_to_stdout(mastery, stored_run: str) -> None:
    assert mastery("results", "latest", "--md").out.startswith("# p50 is 141")


def test_a_file_that_cannot_be_written_is_refused_with_its_reason(mastery, stored_run: str) -> None:
    said = mastery("results", "--html", "/nonexistent/run.html")
    assert said.status == 3
    assert "No such file or directory" in said.err


def test_two_forms_for_one_place_are_refused_before_anything_is_written(mastery, stored_run: str, tmp_path: Path) -> None:
    assert mastery("results", "--html", "x", "--md", "x").status == 2
    assert not (tmp_path / "x").exists()


def test_exported_runs_come_back_labelled_as_imported(mastery, stored_run: str, monkeypatch, tmp_path: Path) -> None:
    assert mastery("export", "-o", "all.jsonl").status == 0
    monkeypatch.setenv("MASTERY_HOME", str(tmp_path / "other"))
    assert "Imported: 1 run and 0 events." in mastery("import", "all.jsonl").out
    assert mastery("import", "all.jsonl", "--json").document() == {"runs": 0, "events": 0, "known": 1}
    assert mastery("results", "--json").document()["runs"][0]["origin"] == "imported"
    assert "Imported: measured by somebody else" in mastery("results", stored_run).out
    assert mastery("results", stored_run, "--html", "theirs.html").status == 0
    assert "Imported: measured by somebody else" in (tmp_path / "theirs.html").read_text()
    # What somebody else measured decides nothing for us unless its id is typed.
    assert mastery("decide", "fsync-cost", "--need", "p99 <= 5 ms").status == 2
    assert "imported" in mastery("decide", stored_run, "--need", "p99 <= 5 ms").out


def test_a_hostile_import_leaves_the_store_as_it_was(mastery, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"kind": "run", "document": {"id": "\\u001b[2J"}}\n')
    said = mastery("import", "bad.jsonl")
    assert said.status == 3
    assert "Line 1" in said.err
    assert "\x1b" not in said.err
    assert mastery("results", "--json").document() == {"runs": []}


def test_decide_says_which_arm_and_exits_with_one_when_there_is_none(mastery, stored_run: str) -> None:
    assert mastery("decide", "fsync-cost", "--need", "p99 <= 1 ns").status == 1
    said = mastery("decide", "fsync-cost", "--need", "at_risk <= 10", "--json")
    assert said.document()["run"] == {"id": stored_run, "provenance": "own"}


def test_decide_without_a_need_or_with_an_unknown_metric_says_what_is_known(mastery, stored_run: str) -> None:
    assert "--need" in mastery("decide", "fsync-cost").err
    assert "'p99'" in mastery("decide", "fsync-cost", "--need", "p98 <= 1 ms").err


def test_a_bundle_goes_into_a_new_folder_only(mastery, stored_run: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    assert mastery("cite", stored_run, "--bundle", "taken").status == 3
    assert list((tmp_path / "taken").iterdir()) == []


def test_commands_to_copy_keep_a_strangers_name_one_word() -> None:
    lines = next_steps(sample_run(id="x; rm -rf ~", experiment="$(reboot)"))
    assert shlex.split(lines[0])[2] == "x; rm -rf ~"
    assert shlex.split(lines[1])[2] == "$(reboot)"
    assert "'$(reboot)'" in lines[1]


def test_a_citation_is_a_sentence_and_bibtex(mastery, stored_run: str) -> None:
    out = mastery("cite", stored_run).out
    assert stored_run in out.splitlines()[0]
    assert "@misc{" in out


def test_comparing_a_run_with_itself_is_refused(mastery, stored_run: str) -> None:
    assert mastery("compare", stored_run, stored_run).status == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command_and_option(mastery, shell: str) -> None:
    out = mastery("completion", shell).out
    for word in ("doctor", "rigorous", "decide"):
        assert word in out


def test_the_list_names_each_part_once_above_its_articles(mastery) -> None:
    lines = mastery("list").out.splitlines()
    parts = [line for line in lines if line.startswith("Part ")]
    assert parts == sorted(set(parts))
    assert lines.index("  03    File I/O & Durability") > lines.index("Part 1: OS & Systems Foundation")
    assert sum("being written" in line for line in lines) <= 1
