"""One measuring at a time: the second is refused with the holder's name, or waits."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.components.machine_lock import measure_alone
from mastery.errors import Busy

HOLDER = """
import sys
from mastery.components.machine_lock import measure_alone
with measure_alone("r7", name=sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def name():
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def holder(name):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_refusal_names_run_user_and_process(name, holder):
    with pytest.raises(Busy) as refused, measure_alone("r8", name=name):
        pass
    assert "'r7'" in refused.value.message
    assert str(holder.pid) in refused.value.message
    assert "--wait" in refused.value.remedy


def test_a_killed_holder_holds_nothing(name, holder):
    holder.kill()
    holder.wait()
    with measure_alone("r8", name=name) as held:
        assert all(not os.get_inheritable(each) for each in held)


def test_waiting_ends_when_the_holder_does(name, holder):
    waiter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom mastery.components.machine_lock import measure_alone\nprint('waits', flush=True)\n"
            "with measure_alone('r8', wait=True, name=sys.argv[1]): print('got it')",
            name,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiter.stdout.readline() == "waits\n"
    assert waiter.poll() is None
    holder.communicate("go\n", timeout=20)
    assert waiter.communicate(timeout=20)[0] == "got it\n"


def test_waiting_ends_after_its_time_with_the_same_refusal(name, holder):
    with pytest.raises(Busy, match="r7"), measure_alone("r8", wait=True, timeout_s=0.05, name=name):
        pass


def test_the_lock_is_free_again_after_an_exception(name):
    with pytest.raises(ZeroDivisionError), measure_alone("r1", name=name):
        1 / 0  # noqa: B018 - raised on purpose
    with measure_alone("r2", name=name):
        pass


def test_where_there_are_no_abstract_sockets_a_file_does_the_same(name, monkeypatch):
    monkeypatch.setattr("mastery.components.machine_lock.IS_LINUX", False)
    try:
        with measure_alone("r7", name=name):
            with pytest.raises(Busy, match=f"'r7'.* process {os.getpid()}"), measure_alone("r8", name=name):
                pass
            with pytest.raises(Busy), measure_alone("r8", wait=True, timeout_s=0.01, name=name):
                pass
        with measure_alone("r8", wait=True, name=name):
            pass
    finally:
        Path(f"/tmp/{name}.lock").unlink()


@pytest.mark.root
def test_another_user_is_refused_as_well(name, holder):
    # The interpreter of this environment may lie in a folder that others cannot enter; the system's own does not.
    source = Path("src/mastery").resolve()
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from mastery.components.machine_lock import measure_alone\nfrom mastery.errors import Busy\n"
        "try:\n"
        "    with measure_alone('r8', name=sys.argv[1]): print('taken')\n"
        "except Busy as refused: print(refused.message)"
    )
    place = Path(f"/tmp/lock{os.getpid()}")
    place.mkdir()
    try:
        subprocess.run(["cp", "-r", "--", str(source), str(place / "mastery")], check=True)
        answer = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", code, name, str(place)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        subprocess.run(["rm", "-r", str(place)], check=True)
    assert "'r7'" in answer.stdout
    assert str(holder.pid) in answer.stdout
