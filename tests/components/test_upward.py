"""An error of a forked process reaches the one that speaks with the user, whatever its kind."""

import os
import signal

import pytest

from mastery.components.forking import fork
from mastery.components.upward import errors_come_back
from mastery.errors import BrokenExperiment, MasteryError, NeedsExtra, StoreError, UnknownName

ERRORS = [
    StoreError("full", remedy="make room"),
    UnknownName("experiment", "fsnc", ["fsync"], remedy="see the list"),
    NeedsExtra("postgres", why="this"),
    BrokenExperiment("é" * 4000, remedy=""),
]


def run(main) -> int:
    with errors_come_back(main) as told:
        return os.waitstatus_to_exitcode(os.waitpid(fork(told), 0)[1])


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_raised_here_as_it_was_raised_there(error: MasteryError) -> None:
    def main() -> int:
        raise error

    with pytest.raises(type(error)) as raised:
        run(main)
    assert vars(raised.value) == vars(error)
    assert str(raised.value) == str(error)
    assert type(raised.value) is type(error)


def test_a_process_without_an_error_gives_its_status_alone() -> None:
    assert run(lambda: 7) == 7


def test_a_killed_process_keeps_nobody_waiting() -> None:
    def main() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert run(main) == -signal.SIGKILL
