"""What a terminal can show decides what it is sent, and a pipe gets plain text of eighty columns."""

import io

import pytest

from mastery.cli.terminal import WIDEST, WIDTH, Terminal, terminal_here
from mastery.errors import UsageError


class Screen(io.TextIOWrapper):
    def __init__(self, *, encoding: str = "utf-8", is_terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def here(monkeypatch: pytest.MonkeyPatch, screen: Screen, **environment: str) -> Terminal:
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    if "COLUMNS" in environment:
        monkeypatch.setenv("COLUMNS", environment["COLUMNS"])
    return terminal_here(environment)


def test_a_terminal_has_colours_unless_they_are_unwanted(monkeypatch) -> None:
    assert here(monkeypatch, Screen(), TERM="xterm").colour
    assert not here(monkeypatch, Screen(), TERM="xterm", NO_COLOR="1").colour
    assert not here(monkeypatch, Screen(), TERM="dumb").colour
    assert not here(monkeypatch, Screen(is_terminal=False), TERM="xterm").colour


def test_progress_is_drawn_where_a_line_can_be_drawn_over(monkeypatch) -> None:
    assert here(monkeypatch, Screen(), TERM="xterm", NO_COLOR="1").redraws
    assert not here(monkeypatch, Screen(), TERM="dumb").redraws
    assert not here(monkeypatch, Screen(is_terminal=False), TERM="xterm").redraws


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("300", WIDEST), ("10", 40)])
def test_the_width_follows_the_terminal_within_reason(monkeypatch, columns: str, width: int) -> None:
    assert here(monkeypatch, Screen(), COLUMNS=columns).width == width


def test_a_pipe_is_eighty_columns_wide(monkeypatch) -> None:
    assert here(monkeypatch, Screen(is_terminal=False)).width == WIDTH


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", True), ("ascii", False), ("latin-1", False)])
def test_only_unicode_terminals_are_sent_more_than_ascii(monkeypatch, encoding: str, expected: bool) -> None:
    assert here(monkeypatch, Screen(encoding=encoding)).unicode is expected


def test_a_sentence_is_wrapped_with_its_indent_and_a_path_is_never_broken() -> None:
    out = io.StringIO()
    path = "/a" * 60
    Terminal(out, io.StringIO(), width=40).say(f"  what lies in {path} stays where it is, all of it", hang=4)
    lines = out.getvalue().splitlines()
    assert lines[0] == "  what lies in"
    assert lines[1] == f"    {path}"
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_failure_names_message_and_remedy_without_control_characters() -> None:
    out, err = io.StringIO(), io.StringIO()
    Terminal(out, err).fail(UsageError("bad \x1b[2J name", remedy="mend\nit"))
    assert (out.getvalue(), err.getvalue()) == ("", "mastery: bad [2J name\n         mend it\n")


def test_quiet_keeps_notes_but_not_failures_back() -> None:
    err = io.StringIO()
    terminal = Terminal(io.StringIO(), err, quiet=True)
    terminal.note("by the way")
    terminal.fail(UsageError("wrong", remedy="right"))
    assert err.getvalue().startswith("mastery: wrong")
