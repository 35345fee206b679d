"""Follows a run by its events: one calm line of progress on a terminal, the result at the end, nothing twice."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mastery.cli.show import next_steps, show_run
from mastery.cli.terminal import Terminal
from mastery.lab.document import ArmRecord, canonical
from mastery.lab.event import (
    Advised,
    AnyEvent,
    BlocksFixed,
    Judged,
    Planned,
    TrialFinished,
    TrialStarted,
    as_line,
)
from mastery.report.numbers import seconds
from mastery.report.plain_text import printable

_BAR = 16
_ERASE = "\r\x1b[2K"


@dataclass(slots=True)
class Follower:
    """Draws what a run tells. It lives in the run process, which must stay single-threaded: it draws on events alone."""

    terminal: Terminal
    clock: Callable[[], float]
    # Every event as a line of JSON on stdout instead of the result in words.
    as_events: bool = False
    _started_s: float = 0.0
    _arms: dict[int, ArmRecord] = field(default_factory=dict)
    _varying: tuple[str, ...] = ()
    _trials: int = 0
    _done: int = 0
    _is_fixed: bool = False
    _line_shown: bool = False

    def __call__(self, event: AnyEvent) -> None:
        """Draws one event. Who closed our stdout no longer reads; the run goes on and is stored all the same."""
        try:
            self._draw(event)
            self.terminal.stdout.flush()
        except BrokenPipeError:
            self.terminal.lose_reader()

    def _draw(self, event: AnyEvent) -> None:
        if self.as_events:
            self.terminal.raw_lines(as_line(event))
            return
        match event:
            case Planned():
                self._plan(event)
            case TrialStarted():
                self._progress(event)
            case TrialFinished():
                self._done, self._trials = event.done, event.trials
                if event.trial.status == "void":
                    self._note(f"void trial of {self._name(event.trial.arm)}: {printable(event.trial.cause or 'unknown cause')}", 1)
            case BlocksFixed():
                self._trials, self._is_fixed = event.trials, True
                self._note(f"{event.rule.blocks} blocks, fixed by {event.rule.reason}", 1)
            case Advised():
                # What concerns a server of the user's is said at once: a run that is killed says nothing at its end.
                concerns_their_server = event.advice.code in {"target", "leftover", "target-limit"}
                words = f"{printable(event.advice.text)} {printable(event.advice.remedy)}".rstrip()
                if concerns_their_server:
                    self._erase()
                    self.terminal.note(words)
                else:
                    self._note(words, 1)
            case Judged():
                self._erase()
                self._show(event)

    def _plan(self, event: Planned) -> None:
        self._started_s = self.clock()
        self._arms = {arm.index: arm for arm in event.arms}
        factors = list(event.arms[0].levels) if event.arms else []
        self._varying = tuple(name for name in factors if len({repr(arm.levels.get(name)) for arm in event.arms}) > 1)
        self._trials = event.trials

    def _progress(self, event: TrialStarted) -> None:
        if not self._draws_progress:
            return
        share = self._done / self._trials if self._trials else 0.0
        bar = "█" * round(share * _BAR)
        if not self.terminal.unicode:
            bar = "#" * len(bar)
        elapsed_s = self.clock() - self._started_s
        # The first few trials say little about the rest; before the number of blocks is fixed it is an estimate.
        left_s = elapsed_s / self._done * (self._trials - self._done) if self._done >= 3 else None
        left = "" if left_s is None else f"  {'about ' if left_s >= 1 else ''}{seconds(left_s)} left"
        about = "" if self._is_fixed else "about "
        who = self._name(event.arm) + (" (again, as a check)" if event.placebo else "")
        text = f"{bar:<{_BAR}} trial {self._done + 1} of {about}{self._trials}, block {event.block + 1}{left}  {who}"
        self.terminal.stderr.write(_ERASE + text[: self.terminal.width - 1])
        self.terminal.stderr.flush()
        self._line_shown = True

    @property
    def _draws_progress(self) -> bool:
        terminal = self.terminal
        return terminal.redraws and not terminal.quiet and not terminal.is_json

    def _name(self, arm: int) -> str:
        levels = self._arms[arm].levels if arm in self._arms else {}
        return printable(" ".join(f"{name}={levels[name]}" for name in self._varying if name in levels)) or f"arm {arm}"

    def _note(self, text: str, verbosity: int) -> None:
        if self.terminal.verbose >= verbosity:
            self._erase()
            self.terminal.detail(text)

    def _erase(self) -> None:
        if self._line_shown:
            self.terminal.stderr.write(_ERASE)
            self.terminal.stderr.flush()
            self._line_shown = False

    def _show(self, event: Judged) -> None:
        if self.terminal.is_json:
            self.terminal.raw_document(canonical(event.document))
            return
        self.terminal.say()
        show_run(event.document, self.terminal)
        self.terminal.write("\nNext\n")
        for line in next_steps(event.document):
            self.terminal.write(f"  {line}\n")
