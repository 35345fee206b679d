"""The follower draws a run from its events: one line of progress on a terminal, the result once, and never a second document."""

import io
import json
from collections.abc import Iterator

from sample_run import sample_run

from mastery.cli.following import Follower
from mastery.cli.terminal import Terminal
from mastery.lab.document import AdviceRecord, RuleRecord, decode
from mastery.lab.event import Advised, AnyEvent, BlocksFixed, Judged, Planned, TrialFinished, TrialStarted, from_line


class Screen(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def story() -> Iterator[AnyEvent]:
    document = sample_run()
    trials = document.trials[:6]
    yield Planned(run=document.id, arms=document.arms, trials=6, seconds=30.0)
    for done, trial in enumerate(trials, start=1):
        yield TrialStarted(block=trial.block, arm=trial.arm)
        yield TrialFinished(trial=trial, done=done, trials=6)
        if done == 3:
            yield BlocksFixed(rule=RuleRecord(blocks=2, reason="precision"), trials=6)
    yield Advised(advice=AdviceRecord(code="steal", text="Steal.", remedy="Move."))
    yield Judged(document=document)


def follow(*, is_terminal: bool = False, **options: object) -> tuple[str, str]:
    out, err = Screen(is_terminal=is_terminal), Screen(is_terminal=is_terminal)
    seconds = iter(range(1000))
    as_events = bool(options.pop("as_events", False))
    terminal = Terminal(out, err, redraws=is_terminal, **options)
    follower = Follower(terminal, lambda: float(next(seconds)), as_events=as_events)
    for event in story():
        follower(event)
    return out.getvalue(), err.getvalue()


def test_piped_there_is_no_progress_and_the_result_once() -> None:
    out, err = follow()
    assert err == ""
    assert out.count("p50 is 141 times lower with sync=never than with sync=every.") == 1
    assert "mastery cite" in out


def test_on_a_terminal_progress_is_one_line_that_is_wiped_before_the_result() -> None:
    _, err = follow(is_terminal=True)
    assert "\n" not in err
    assert err.endswith("\r\x1b[2K")
    lines = err.split("\r\x1b[2K")
    assert "trial 1 of about 6, block 1" in lines[1]
    assert "trial 4 of 6" in lines[4]
    assert "left" in lines[4]
    assert "sync=" in lines[4]
    assert max(map(len, lines)) < 80


def test_quiet_draws_no_progress() -> None:
    assert follow(is_terminal=True, quiet=True)[1] == ""


def test_with_json_the_document_is_all_of_stdout() -> None:
    out, err = follow(is_terminal=True, is_json=True)
    assert decode(out.rstrip("\n").encode()) == sample_run()
    assert err == ""


def test_as_events_every_line_is_an_event() -> None:
    out, _ = follow(as_events=True)
    events = [from_line(line.encode()) for line in out.splitlines()]
    assert events == list(story())
    assert {json.loads(line)["event"] for line in out.splitlines()} >= {"planned", "judged"}


def test_verbose_tells_void_trials_and_advice_as_they_come() -> None:
    _, err = follow(verbose=1)
    assert "2 blocks, fixed by precision" in err
    assert "Steal. Move." in err
