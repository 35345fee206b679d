"""Faults strike a service at the moment that the seed draws, and never a service that is not ours."""

import os

import pytest

from mastery.errors import BrokenExperiment
from mastery.lab.fault import Fault, FaultKind, Strike, strike, strikes
from mastery.lab.worker import in_worker


class Server:
    """Notes what befell it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def crash(self) -> None:
        self.told.append("crash")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


def test_a_pause_ends_after_its_time_and_a_kill_has_no_end() -> None:
    planned = strikes((Fault("db", FaultKind.PAUSE, (0.1, 0.2), 0.5), Fault("db", FaultKind.KILL, (0.3, 0.3))), seed=7)
    assert [each.action for each in planned] == ["pause", "crash", "resume"]
    assert planned[2].at_s - planned[0].at_s == pytest.approx(0.5)
    assert 0.1 <= planned[0].at_s <= 0.2 and planned[1].at_s == pytest.approx(0.3)


def test_the_same_seed_strikes_at_the_same_moment_and_another_seed_elsewhere() -> None:
    fault = (Fault("db", FaultKind.KILL, (0.0, 1.0)),)
    assert strikes(fault, seed=1) == strikes(fault, seed=1) != strikes(fault, seed=2)


def test_a_service_is_struck_while_the_worker_works() -> None:
    server = Server()
    reads, writes = os.pipe()

    def work() -> bytes:
        # Ends only when the fault has struck: the trial and the strike really overlap.
        return os.read(reads, 1)

    def hit() -> None:
        strike(server, Strike(0.0, "db", "crash"))
        os.write(writes, b"x")

    assert in_worker(work, timeout_s=10, meanwhile=[(0.01, hit)]) == b"x"
    assert server.told == ["crash"]


def test_what_the_worker_does_not_live_to_see_is_left_out() -> None:
    server = Server()
    assert in_worker(lambda: 1, timeout_s=10, meanwhile=[(9.0, server.crash)]) == 1
    assert server.told == []


def test_a_server_of_the_users_is_never_struck() -> None:
    with pytest.raises(BrokenExperiment, match="cannot be struck"):
        strike(object(), Strike(0.0, "postgres", "crash"))
