"""An interrupt ends a trial, and nothing but a trial."""

import signal

import pytest

from mastery.lab.interruption import ASKING, Interruption, interruption_of_trials


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_inside_a_trial_breaks_it_off(number: signal.Signals) -> None:
    with interruption_of_trials() as interruption, pytest.raises(KeyboardInterrupt), interruption.allowed():
        signal.raise_signal(number)
    assert interruption.asked


def test_a_signal_between_trials_waits_for_the_next_one_to_begin() -> None:
    with interruption_of_trials() as interruption:
        with interruption.allowed():
            pass
        signal.raise_signal(signal.SIGINT)
        reached = True
        with pytest.raises(KeyboardInterrupt), interruption.allowed():
            reached = False
    assert reached


def test_a_second_signal_does_not_fall_into_the_judging() -> None:
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption.allowed():
        interruption.ask()
    interruption.ask()
    assert interruption.asked


def test_the_handlers_of_before_are_there_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in ASKING]
    with interruption_of_trials():
        assert [signal.getsignal(number) for number in ASKING] != before
    assert [signal.getsignal(number) for number in ASKING] == before
