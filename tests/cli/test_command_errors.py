"""Wrong words end in one message with a remedy, the right status, and JSON where JSON was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.cli import commands
from mastery.cli.entry import START_AGAIN
from mastery.cli.terminal import Terminal
from mastery.errors import NeedsExtra

PYTHON = [sys.executable, "-m", "mastery"]


@pytest.mark.parametrize(
    ("words", "status", "message", "remedy"),
    [
        (["lst"], 2, "'list'", "Commands:"),
        (["results", "--wat"], 2, "does not know '--wat'", "mastery results --help"),
        (["run"], 2, "required: EXPERIMENT", "mastery run --help"),
        (["run", "fsync-cots"], 2, "'fsync-cost'", "mastery list"),
        (["run", "fsync-cost", "--arms", "sync=sometimes"], 2, "sometimes", "every"),
        (["run", "fsync-cost", "--arms", "snyc=every"], 2, "'sync'", "Factors"),
        (["run", "fsync-cost", "--budget", "1s"], 2, "too small", "--budget"),
        (["run", "./missing.py"], 2, "There is no file", "mastery list"),
        (["run", "fsync-cost", "--require", "p98 <= 1 ms"], 2, "'p98'", "Metrics"),
        (["run", "fsync-cost", "--target", "postgres=staging"], 2, "'postgres'", "fsync-cost uses: disk"),
        (["run", "fsync-cost", "--component", "dsik=os"], 2, "'disk'", "fsync-cost uses: disk"),
        (["run", "fsync-cost", "--predict"], 2, "terminal", "--predict"),
        (["results", "latest"], 2, "no run", "mastery run"),
        (["list", "99"], 2, "'99'", "mastery list"),
        (["import", "missing.jsonl"], 2, "cannot be read", "mastery export"),
        (["doctor", "--remove", "--json"], 2, "nobody is asked", "--yes"),
        (["export", "--json"], 2, "file of their own", "--output"),
    ],
)
def test_wrong_words_get_a_message_a_remedy_and_their_status(
    mastery, words: list[str], status: int, message: str, remedy: str
) -> None:
    said = mastery(*words)
    assert said.status == status
    assert message in said.err
    assert remedy in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [["lst"], ["results", "--wat"], ["run", "fsync-cots"], ["results", "latest"]])
def test_with_json_the_refusal_is_the_one_document_on_stdout(mastery, words: list[str]) -> None:
    error = mastery(*words, "--json").document()["error"]
    assert set(error) == {"code", "message", "remedy"}


def test_an_experiment_file_with_a_syntax_error_is_named_with_its_line(mastery, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\ndef f(:\n")
    said = mastery("run", "./mine.py", "--json")
    assert said.status == 2
    assert said.document()["error"]["code"] == "broken-experiment"
    assert "line 2" in said.document()["error"]["message"]


def test_control_characters_in_names_never_reach_the_terminal(mastery) -> None:
    said = mastery("results", "\x1b[2Jlatest")
    assert "\x1b" not in said.err


def test_a_missing_extra_is_left_for_the_launcher_or_told_as_a_command(mastery, monkeypatch, tmp_path: Path) -> None:
    class Needy:
        @staticmethod
        def add_arguments(parser) -> None: ...

        @staticmethod
        def run(arguments, terminal: Terminal) -> int:
            raise NeedsExtra("postgres", why="anomaly-matrix")

    monkeypatch.setattr(commands.Command, "load", lambda _: Needy)
    said = mastery("list")
    assert (said.status, "backend-mastery[postgres]" in said.err) == (4, True)
    monkeypatch.setenv("MASTERY_NEEDS", str(tmp_path / "needs"))
    said = mastery("list")
    assert (said.status, said.out, said.err) == (START_AGAIN, "", "")
    assert (tmp_path / "needs").read_text().strip() == "postgres"


def test_a_bug_keeps_its_traceback(mastery, monkeypatch) -> None:
    class Buggy:
        @staticmethod
        def add_arguments(parser) -> None: ...

        @staticmethod
        def run(arguments, terminal: Terminal) -> int:
            return {}["missing"]

    monkeypatch.setattr(commands.Command, "load", lambda _: Buggy)
    with pytest.raises(KeyError):
        mastery("list")


def test_ctrl_c_ends_with_its_own_status(mastery, monkeypatch) -> None:
    class Interrupted:
        @staticmethod
        def add_arguments(parser) -> None: ...

        @staticmethod
        def run(arguments, terminal: Terminal) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands.Command, "load", lambda _: Interrupted)
    said = mastery("list")
    assert (said.status, "Traceback" in said.err) == (130, False)


def test_a_reader_who_goes_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "MASTERY_HOME": str(tmp_path)}
    ended = subprocess.run([*PYTHON, "list"], stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_terminal_without_unicode_gets_ascii(tmp_path: Path, stored_run: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([*PYTHON, "results", stored_run], capture_output=True, env=environment, check=True)
    assert ended.stdout.isascii()
    assert b"* estimate" in ended.stdout


@pytest.mark.parametrize(
    ("words", "never"),
    [(["--help"], {"numpy", "rich", "yaml", "msgspec", "sqlite3", "inspect"}), (["list"], {"numpy", "rich", "sqlite3"})],
)
def test_fast_commands_do_not_load_what_they_do_not_need(words: list[str], never: set[str]) -> None:
    # Start-up time is what this keeps; a clock in a test would only say how busy the machine is.
    script = f"import sys; from mastery.cli.entry import main\ntry: main({words!r})\nexcept SystemExit: pass\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not never & set(ended.stdout.splitlines()[-1].split()) - {"inspect"}


def test_every_command_has_a_summary_and_a_description() -> None:
    text = commands.whole_parser().format_help()
    for command in commands.COMMANDS:
        assert command.summary.split()[0] in text
        assert command.load().__doc__
