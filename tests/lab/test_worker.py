"""A trial in a process of its own: whatever becomes of that process, the run learns its cause and goes on."""

import ctypes
import faulthandler
import gc
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mastery.components.cgroup import leftover_groups
from mastery.components.forking import fork
from mastery.components.limits import Limits, Way, limit
from mastery.components.processes import identify, wait_until_gone
from mastery.errors import DomainError, MachineCannot
from mastery.lab.conduct import FiguresDisagree, GeneratorSaturated, NothingMeasured
from mastery.lab.operation import LevelNotInEffect
from mastery.lab.worker import Void, in_worker

MIB = 1 << 20


def cause_of(job: Callable[[], Any], *, timeout_s: float = 30.0) -> str:
    answer = in_worker(job, timeout_s=timeout_s)
    assert isinstance(answer, Void)
    return answer.cause


def raising(failure: BaseException) -> Callable[[], Any]:
    def job() -> None:
        raise failure

    return job


def test_a_value_comes_back_from_a_process_of_its_own() -> None:
    pid, words = in_worker(lambda: (os.getpid(), ["a", "b"]), timeout_s=30)
    assert pid != os.getpid()
    assert words == ["a", "b"]


def test_a_value_larger_than_any_pipe_comes_back_whole() -> None:
    assert in_worker(lambda: b"x" * (8 * MIB), timeout_s=30) == b"x" * (8 * MIB)


def test_an_exception_is_told_with_its_kind_its_words_and_its_line() -> None:
    assert "raised ValueError: bad account (test_worker.py:" in cause_of(raising(ValueError("bad account")))


def test_an_error_of_ours_keeps_its_message() -> None:
    assert "the disk is full" in cause_of(raising(DomainError("the disk is full", remedy="empty it")))


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (GeneratorSaturated("20 op/s were not offered"), "generator saturated: 20 op/s were not offered"),
        (FiguresDisagree("2.00 loaders were at work"), "figures disagree: 2.00 loaders were at work"),
        (NothingMeasured("no operation ended"), "nothing measured: no operation ended"),
        (DomainError("fio failed: no space.", remedy="Run it by hand."), "fio failed: no space"),
    ],
)
def test_a_rule_or_an_error_of_ours_is_told_in_its_own_words_and_not_by_a_line_of_our_code(failure: Exception, cause: str) -> None:
    assert cause_of(raising(failure)) == cause


def test_a_level_that_was_not_in_effect_is_called_a_manipulation_check() -> None:
    assert cause_of(raising(LevelNotInEffect("fsync was 'off'"))) == "manipulation check: fsync was 'off'"


def test_a_value_that_cannot_cross_a_pipe_is_a_void_with_its_reason() -> None:
    assert "raised" in cause_of(lambda: lambda: None)


def test_a_segmentation_fault_voids_its_trial_alone() -> None:
    def fault() -> None:
        faulthandler.disable()
        ctypes.string_at(0)

    assert "SIGSEGV" in cause_of(fault)
    assert in_worker(lambda: 1, timeout_s=30) == 1


def test_a_kill_from_outside_is_told_from_one_by_the_kernel() -> None:
    assert cause_of(lambda: os.kill(os.getpid(), signal.SIGKILL)) == "killed by SIGKILL: somebody killed it"


@pytest.mark.parametrize(
    ("job", "status"),
    [(lambda: os._exit(7), 7), (lambda: sys.exit(3), 3), (raising(KeyboardInterrupt()), 130)],
    ids=["_exit", "SystemExit", "KeyboardInterrupt"],
)
def test_an_early_end_is_told_with_its_exit_status(job: Callable[[], Any], status: int) -> None:
    assert cause_of(job) == f"ended with exit status {status} without a result"


def test_a_trial_that_hangs_is_ended_when_its_time_is_out(tmp_path: Path) -> None:
    def hang() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        while True:
            signal.pause()

    assert cause_of(hang, timeout_s=0.3) == "time-out: the trial did not end within 0.3 s"
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_a_trial_that_stops_reading_its_clock_is_ended_in_the_middle_of_its_answer() -> None:
    class Endless:
        def __reduce__(self) -> Any:
            while True:
                signal.pause()

    assert cause_of(Endless, timeout_s=0.3).startswith("time-out")


@contextmanager
def silent_pipe() -> Iterator[tuple[int, int]]:
    reads, writes = os.pipe()
    try:
        yield reads, writes
    finally:
        os.close(reads)


def gone(reads: int) -> bool:
    """Whether everybody who held the other end has ended: then the pipe is at its end."""
    return bool(select.select([reads], [], [], 30)[0]) and os.read(reads, 1) == b""


@pytest.mark.parametrize("end", ["value", "time-out", "exception"])
def test_what_a_worker_forked_and_left_behind_ends_with_it(end: str) -> None:
    with silent_pipe() as (reads, writes):

        def job() -> str:
            if os.fork() == 0:
                while True:
                    signal.pause()
            if end == "exception":
                raise ValueError
            while end == "time-out":
                signal.pause()
            return "done"

        answer = in_worker(job, timeout_s=0.5 if end == "time-out" else 60.0)
        os.close(writes)
        # The grandchild holds the pipe of the answer too: the answer does not wait for it.
        assert (answer == "done") if end == "value" else isinstance(answer, Void)
        assert gone(reads)


def test_an_interrupt_of_the_run_ends_the_worker_and_is_raised_again() -> None:
    with silent_pipe() as (reads, writes):

        def run() -> int:
            # In a process of its own, as a run is: the threads of a test runner would take the signal past our mask.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            parent = os.getpid()

            def job() -> None:
                os.kill(parent, signal.SIGINT)
                while True:
                    signal.pause()

            gc.disable()
            try:
                in_worker(job, timeout_s=60)
            except KeyboardInterrupt:
                return 7
            return 1

        pid = fork(run)
        os.close(writes)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert gone(reads)


def test_an_interrupt_of_the_whole_group_is_the_runs_to_decide() -> None:
    def job() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "went on"

    assert in_worker(job, timeout_s=30) == "went on"


KILLED_PARENT = """
import os, signal
from mastery.lab.worker import in_worker
def job():
    os.write(1, str(os.getpid()).encode() + b"\\n")
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        signal.pause()
in_worker(job, timeout_s=60)
"""


def test_a_worker_dies_with_its_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_PARENT], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        # The end of the pipe comes when the last process that holds it has ended.
        pid = int(run.stdout.read())
        assert run.wait() == -signal.SIGKILL
    identity = identify(pid)
    assert identity is None or not wait_until_gone([identity], timeout_s=30)


def test_no_descriptor_and_no_process_is_left_however_a_worker_ends() -> None:
    def mine() -> tuple[int, str]:
        own = Path("/proc/self")
        return len(list((own / "fd").iterdir())), (own / "task" / str(os.getpid()) / "children").read_text()

    before = mine()
    in_worker(lambda: 1, timeout_s=30)
    cause_of(raising(ValueError()))
    cause_of(lambda: os.kill(os.getpid(), signal.SIGKILL))
    cause_of(signal.pause, timeout_s=0.1)
    assert mine() == before


@pytest.mark.root
def test_a_worker_that_the_kernel_kills_for_memory_is_told_so() -> None:
    run = f"worker{os.getpid()}"

    def greedy() -> int:
        try:
            with limit(Limits(memory_byte=64 * MIB), run=run, name="greedy", way=Way.CONTROL_GROUP) as limited:
                limited.add(os.getpid())
                return len(bytearray(512 * MIB))
        except MachineCannot:
            return -1

    answer = in_worker(greedy, timeout_s=60)
    if answer == -1:
        pytest.skip("no control group can be made here")
    # The group was the killed worker's to remove.
    for folder in leftover_groups(run):
        deadline = time.monotonic() + 10
        while folder.exists() and time.monotonic() < deadline:
            try:
                folder.rmdir()
            except OSError:
                os.sched_yield()
    assert answer == Void("killed by SIGKILL: the kernel ran out of memory and killed it")
