"""Ctrl-C during a run: it ends the trial that is running, or the next one, and never falls into the keeping or the judging."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from mastery.lab.document import AdviceRecord


class RunEnded(KeyboardInterrupt):
    """The run itself finds that it must end; what is finished is judged as after Ctrl-C, and `advice` says why."""

    def __init__(self, advice: AdviceRecord) -> None:
        super().__init__(advice.text)
        self.advice = advice


ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Interruption:
    """`asked` once somebody wants the run to end; `_is_open` while a trial may be broken off."""

    asked: bool = False
    _is_open: bool = False

    def ask(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """The handler of the signals. A second one changes nothing: the judging is under way."""
        self.asked = True
        if self._is_open:
            self._is_open = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Around a trial: raises KeyboardInterrupt in it, or at once when it was asked for before."""
        if self.asked:
            raise KeyboardInterrupt
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False


@contextlib.contextmanager
def interruption_of_trials() -> Iterator[Interruption]:
    """Takes the signals that end a run for as long as it measures; restores their handlers afterwards."""
    interruption = Interruption()
    before = {number: signal.getsignal(number) for number in ASKING}
    for number in ASKING:
        signal.signal(number, interruption.ask)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
