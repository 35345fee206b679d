"""Processes are known by pid and start time; a zombie is gone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components import forking, processes
from mastery.components.processes import Identity

SLEEPER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def sleeper():
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


words = st.text(st.characters(codec="ascii", exclude_categories=["Zs", "Cc"]), min_size=1)


@given(st.builds(Identity, st.integers(1, 1 << 22), words, words, words))
def test_an_identity_survives_being_written_down(identity):
    assert Identity.decode(identity.encode()) == identity


@pytest.mark.parametrize("text", ["", "12", "x y z w", "1 2 3"])
def test_what_is_no_identity_is_refused(text):
    with pytest.raises(ValueError):
        Identity.decode(text)


def test_the_name_of_a_program_cannot_confuse_its_start_time():
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0); print(flush=True); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        before = processes.identify(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        assert processes.identify(process.pid) == before
        process.kill()


def test_a_later_process_with_the_same_pid_is_another_one(sleeper):
    identity = processes.identify(sleeper.pid)
    earlier = replace(identity, started="1")
    assert not processes.is_alive(earlier)
    assert not processes.send(earlier, signal.SIGKILL)
    assert sleeper.poll() is None
    assert processes.is_alive(identity)


@pytest.mark.parametrize("elsewhere", [{"boot": "another"}, {"pid_namespace": "1"}])
def test_a_process_of_another_boot_or_namespace_is_never_signalled(sleeper, elsewhere):
    assert not processes.send(replace(processes.identify(sleeper.pid), **elsewhere), signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_zombie_is_gone():
    pid = forking.fork(lambda: 0)
    identity = Identity(pid, "", "", "")
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert processes.identify(pid) is None
    assert processes.wait_until_gone([identity], timeout_s=0) == ()
    os.waitpid(pid, 0)


def test_waiting_ends_with_the_process_and_not_with_the_time(sleeper):
    identity = processes.identify(sleeper.pid)
    assert processes.wait_until_gone([identity], timeout_s=0.01) == (identity,)
    processes.send(identity, signal.SIGKILL)
    before = time.monotonic()
    assert processes.wait_until_gone([identity], timeout_s=60) == ()
    assert time.monotonic() - before < 30


def test_a_family_is_killed_as_a_whole():
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, *SLEEPER], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = processes.descendants(parent.pid)
        assert processes.kill_family(processes.identify(parent.pid), timeout_s=10) == ()
        assert not processes.is_alive(child)


def test_a_raising_child_never_returns_into_its_parents_code(capfd):
    parent = os.getpid()

    def child():
        raise ValueError("seen in the child")

    pid = forking.fork(child)
    assert os.getpid() == parent
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == forking.BUG_STATUS
    assert "seen in the child" in capfd.readouterr().err


def test_a_child_tethered_to_a_parent_that_is_already_gone_ends_by_itself():
    reads, writes = os.pipe()
    tether = forking.Tether(reads, writes)

    ended = os.pipe()

    def child():
        os.close(tether.writes)
        os.read(ended[0], 1)
        tether.fasten()
        return 0

    pid = forking.fork(child)
    os.close(writes)
    os.write(ended[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == forking.BUG_STATUS
    for descriptor in (reads, *ended):
        os.close(descriptor)
