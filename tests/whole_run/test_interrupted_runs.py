"""Whole runs are interrupted from a terminal: what is finished is judged and stored, and nothing is left."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from whole_run_kit import QUICK, SECONDS_FOR_A_RUN, Home, Outside, Run, is_kept, until

from mastery.components.linux import IS_LINUX

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_LINUX, reason="the outside world is read from /proc")]


@dataclass
class Screen:
    """A terminal with a run in its foreground."""

    process: subprocess.Popen[bytes]
    keyboard: int
    shown: bytes = b""

    def reads(self, words: bytes) -> bool:
        """Whether the words were shown so far."""
        while select.select([self.keyboard], [], [], 0)[0]:
            try:
                self.shown += os.read(self.keyboard, 65536)
            except OSError:
                break
        return words in self.shown

    def press(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def end(self) -> int:
        assert until(lambda: self.reads(b"\0") or self.process.poll() is not None, timeout_s=SECONDS_FOR_A_RUN), self.shown
        self.reads(b"\0")
        return self.process.returncode


@pytest.fixture
def on_screen(home: Home) -> Iterator[Callable[..., Screen]]:
    started: list[Screen] = []

    def begin(*words: str) -> Screen:
        keyboard, screen = pty.openpty()
        process = subprocess.Popen(
            home.words("run", *words, "--wait", "--no-predict"),
            env={**home.environment, "TERM": "xterm"},
            cwd=home.base,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            # The first terminal that the leader of a session opens becomes its controlling one.
            preexec_fn=lambda: os.close(os.open(os.ttyname(screen), os.O_RDWR)),  # noqa: PLW1509 - the tests have one thread
        )
        os.close(screen)
        started.append(Screen(process, keyboard))
        return started[-1]

    yield begin
    for each in started:
        with contextlib.suppress(OSError):
            os.close(each.keyboard)
        each.process.wait(SECONDS_FOR_A_RUN)


def check_that_it_was_judged(home: Home) -> None:
    assert Outside(home).nothing(), Outside(home).left()
    (row,) = home.runs()
    assert row["standing"] == "interrupted"
    document = home.document()
    assert document["stopped"] == "interrupted"
    assert len(document["trials"]) >= 3


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_judges_what_is_finished_however_often_it_is_pressed(home, on_screen, presses):
    screen = on_screen(*QUICK["sleepy"])
    assert until(lambda: screen.reads(b"trial 5 of"), timeout_s=SECONDS_FOR_A_RUN), screen.shown
    for _ in range(presses):
        screen.press(b"\x03")
        time.sleep(0.01)
    assert screen.end() == 130, screen.shown
    assert b"Traceback" not in screen.shown
    assert b"interrupted" in screen.shown
    check_that_it_was_judged(home)


def test_a_terminal_that_hangs_up_interrupts_the_run_which_is_judged_and_stored(home, on_screen):
    screen = on_screen(*QUICK["sleepy"])
    assert until(lambda: screen.reads(b"trial 5 of"), timeout_s=SECONDS_FOR_A_RUN), screen.shown
    os.close(screen.keyboard)
    screen.process.wait(SECONDS_FOR_A_RUN)
    assert until(Outside(home).nothing), Outside(home).left()
    check_that_it_was_judged(home)


def test_ctrl_c_while_the_server_is_made_ends_at_once_with_nothing_left(home, on_screen):
    screen = on_screen(*QUICK["sleepy"])
    outside = Outside(home)
    assert until(lambda: any("initdb" in each for each in outside.living()), timeout_s=SECONDS_FOR_A_RUN)
    screen.press(b"\x03")
    assert screen.end() == 130
    assert b"Traceback" not in screen.shown, screen.shown
    assert outside.nothing(), outside.left()
    assert home.runs() == []


def group(run: Run, number: signal.Signals) -> None:
    os.killpg(run.process.pid, number)


def alone(run: Run, number: signal.Signals) -> None:
    os.kill(run.process.pid, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("send", [group, alone])
def test_a_polite_signal_is_as_good_as_ctrl_c(home, number, send):
    run = home.start(*QUICK["sleepy"])
    run.wait_for("trialfinished", 3)
    send(run, number)
    send(run, number)
    assert run.end() == 130, run.err.read_text()
    check_that_it_was_judged(home)
    assert is_kept(run, home.document())


def test_an_interrupted_run_prints_one_whole_document_with_json(home):
    process = subprocess.Popen(
        home.words("run", *QUICK["tiny"], "--json", "--wait"),
        env=home.environment,
        cwd=home.base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    run = Run(home, process, home.base / "nothing", home.base / "nothing")
    assert until(lambda: run.is_furnished("worker"), timeout_s=SECONDS_FOR_A_RUN)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS_FOR_A_RUN)
    assert process.returncode == 130
    assert b'"stopped":"interrupted"' in out, err
    assert out.count(b"\n") == 1
