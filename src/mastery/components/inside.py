"""A function of ours running in a forked process inside a host of a network, with its result or its error brought back."""

import contextlib
import os
import pickle
import signal
from collections.abc import Callable
from typing import Generic, TypeVar

from mastery.components.forking import Tether, fork_tethered
from mastery.components.namespaces import Place, enter
from mastery.errors import DomainError

Result = TypeVar("Result")


class Inside(Generic[Result]):
    """The running process; `result` waits for it, `stop` ends it. Only the process that started it may use it."""

    def __init__(self, pid: int, answers: int, life_line: int) -> None:
        self.pid = pid
        self._open = [answers, life_line]
        self._status: int | None = None

    def result(self) -> Result:
        """What the function returned; raises what it raised, or `DomainError` when the process died."""
        if not self._open:
            raise DomainError("The result of this process was taken already, or it was stopped.", remedy="Take it once.")
        with open(self._open[0], "rb", closefd=False) as answers:
            told = answers.read()
        status = self._end()
        if not told:
            raise DomainError(f"The process inside the host ended with status {status} and no result.", remedy="Run again.")
        fine, value = pickle.loads(told)  # noqa: S301  written by our own fork over an anonymous pipe
        if fine:
            return value  # type: ignore[no-any-return]
        raise value

    def stop(self) -> None:
        """Kills it if it still runs; may be called twice."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._end()

    def _end(self) -> int:
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        while self._open:
            os.close(self._open.pop())
        return self._status


def start_inside(place: Place | None, function: Callable[[], Result]) -> Inside[Result]:
    """Forks; the child enters the place (if one is given), calls the function and dies with this process in any case."""
    answers, tells = os.pipe()

    def child(tether: Tether) -> int:
        os.close(answers)
        told = _told(place, function, tether)
        with open(tells, "wb") as pipe:  # noqa: PTH123  a descriptor, not a path
            pipe.write(told)
        return 0

    pid, life_line = fork_tethered(child)
    os.close(tells)
    return Inside(pid, answers, life_line)


def _told(place: Place | None, function: Callable[[], Result], tether: Tether) -> bytes:
    try:
        if place is not None:
            enter(place)
            # Entering a user namespace makes the kernel forget whose death is ours.
            tether.fasten()
        return pickle.dumps((True, function()))
    except Exception as error:
        return _told_error(error)


def _told_error(error: Exception) -> bytes:
    try:
        told = pickle.dumps((False, error))
        pickle.loads(told)  # noqa: S301  our own bytes; some errors can be written and not read back
    except Exception:
        return pickle.dumps((False, FailedInside(repr(error))))
    return told


class FailedInside(DomainError):
    """An error of the function that could not travel as it was."""

    def __init__(self, described: str) -> None:
        super().__init__(f"The function inside the host failed: {described}", remedy="Mend the function.")
