"""The one question before a run: how different will the arms be? One key, Enter skips."""

import os
import sys
import termios
import tty
from collections.abc import Callable

from mastery.cli.terminal import Terminal
from mastery.lab.document import PredictionRecord
from mastery.lab.experiment import Arm, Experiment, Role
from mastery.report.plain_text import printable
from mastery.report.prediction import CHOICES, made, skipped

_INTERRUPT = "\x03"


def ask_prediction(
    experiment: Experiment, arms: tuple[Arm, ...], terminal: Terminal, *, now: str, read: Callable[[], str] | None = None
) -> PredictionRecord:
    """Asks on the terminal and seals the answer; a run of one arm or of exact counts has nothing to predict."""
    if experiment.exact or experiment.primary.role == Role.GUARDRAIL or len(arms) < 2:
        return skipped()
    varying = [factor.name for factor in experiment.factors if len({repr(arm.levels[factor.name]) for arm in arms}) > 1]
    home = next((arm for arm in arms if arm.is_baseline), arms[0])
    metric = experiment.primary
    terminal.say()
    terminal.say(
        f"Your prediction, sealed before the run: how far from the baseline ({printable(home.label(varying))}) "
        f"will the arm that differs most lie, in {printable(metric.name)}?"
    )
    terminal.say("(An arm is one combination of settings; the baseline is the one that the others are compared with.)")
    terminal.write("  " + "   ".join(f"{choice.key} {choice.words}" for choice in CHOICES) + "   Enter skips: ")
    terminal.stdout.flush()
    key = (read or read_key)()
    chosen = next((choice for choice in CHOICES if choice.key == key), None)
    terminal.say(chosen.words if chosen else "skipped")
    return made(metric.name, chosen, at=now) if chosen else skipped()


def read_key() -> str:
    """One key without Enter; Ctrl-C stays what it is. Where the keyboard cannot be switched, the first sign of a line."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError, ValueError):
        return sys.stdin.readline()[:1]
    try:
        tty.setcbreak(descriptor)
        key = os.read(descriptor, 1).decode(errors="replace")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    if key == _INTERRUPT:
        raise KeyboardInterrupt
    return key
