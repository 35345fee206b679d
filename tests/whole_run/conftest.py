"""A home for every test of whole runs, for whoever runs the tests and for an ordinary user."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_run_kit import TINY, TINY_POSTGRES, Home, Outside, kill

from mastery.components import processes

ORDINARY = 1001


def _made(user: int | None) -> Home:
    # Not pytest's own folder: it is too long for sockets, and closed to other users.
    base = Path(tempfile.mkdtemp(prefix="whole-", dir="/tmp"))
    for name in ("home", "rt"):
        (base / name).mkdir(mode=0o700)
    if user is not None:
        for each in (base, base / "home", base / "rt"):
            os.chown(each, user, user)
    (base / "tiny.py").write_text(TINY)
    (base / "sleepy.py").write_text(TINY_POSTGRES)
    return Home(base, user)


def _ended(home: Home) -> None:
    # Whatever a failing test left alive must not meet the next one.
    for pid in Outside(home).pids():
        if (identity := processes.identify(pid)) is not None:
            kill(identity)
    shutil.rmtree(home.base, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Home]:
    made = _made(None)
    yield made
    _ended(made)


@pytest.fixture
def ordinary_home() -> Iterator[Home]:
    """The home of an ordinary user, who reads our sources and nothing else of ours."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("needs root to become somebody else, and a system Python")
    made = _made(ORDINARY)
    if made.mastery("list").status != 0:
        _ended(made)
        pytest.skip("the system's Python cannot read our packages")
    yield made
    _ended(made)


@pytest.fixture
def outside(home: Home) -> Outside:
    return Outside(home)
