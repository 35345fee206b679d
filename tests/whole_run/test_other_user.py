"""Another user of the machine can neither connect to what a run starts nor read what it writes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from whole_run_kit import QUICK, Home, Outside, program_of

pytestmark = [pytest.mark.slow, pytest.mark.root]

PRYING = """
import os, socket, sys
reached = []
for path in sys.argv[1:]:
    for name, act in (("listed", os.listdir), ("opened", open), ("entered", os.chdir)):
        try:
            act(path)
            reached.append(f"{name} {path}")
        except OSError:
            pass
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(path)
            reached.append(f"connected to {path}")
        except OSError:
            pass
print(os.getuid(), *reached, sep="\\n")
"""


def prying_of(user: int, paths: list[Path]) -> list[str]:
    """What this user gets at, of all the paths."""
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "/usr/bin/python3", "-c", PRYING]
    said = subprocess.run([*become, *map(str, paths)], capture_output=True, text=True, check=True, cwd="/")
    number, *reached = said.stdout.splitlines()
    assert number == str(user)
    return reached


def everything_of(home: Home) -> list[Path]:
    found = [path for place in (home.folder, home.sockets) for path in (place, *place.rglob("*"))]
    assert any(path.is_socket() for path in found), "the server has a socket"
    assert any(path.name == "PG_VERSION" for path in found), "the server has data"
    assert any(path.name == "mastery.sqlite" for path in found)
    return found


@pytest.fixture
def prying() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root to become somebody else, and a system Python")


def test_another_user_reaches_nothing_of_a_run_with_a_server(home, prying):
    check_that_nobody_reaches_anything(home, user=65534)


def test_nor_does_one_ordinary_user_with_another(ordinary_home, prying):
    check_that_nobody_reaches_anything(ordinary_home, user=65534)


def check_that_nobody_reaches_anything(home: Home, *, user: int) -> None:
    # The folders around the home are as open as they are on most machines: what protects it must be its own.
    for each in (home.base, home.folder, home.base / "rt"):
        each.chmod(0o755)
    run = home.start(*QUICK["sleepy"])
    run.wait_for("trialfinished", 2)
    outside = Outside(home)
    paths = everything_of(home)
    allowed = {f"{what} {home.folder}" for what in ("listed", "entered")}
    reached = set(prying_of(user, paths)) - allowed
    assert any(program_of(pid) == "postgres" for pid in outside.pids())
    assert outside.listening() == []
    assert run.end() == 0
    assert not reached
    # Only the store is left; it is closed to others as well.
    assert set(prying_of(user, [path for path in home.folder.rglob("*") if path.is_file()])) == set()
