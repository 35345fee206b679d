"""The `run` command on a file of the user's own, with real trials: what is said, stored, required and interrupted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mastery.lab.document import decode
from mastery.lab.event import from_line

pytestmark = pytest.mark.slow

EXPERIMENT = '''
"""Sums of two lengths."""

from mastery.lab.experiment import Factor, Metric, experiment


@experiment(
    id="sum-cost", question="What does summing n numbers cost?",
    factors=[Factor("n", [20000, 200000], baseline=20000)],
    metrics=[Metric("p50", "s", primary=True), Metric("throughput", "op/s", better="higher")],
)
def sum_cost(arm):
    numbers = list(range(arm.n))
    yield lambda i: sum(numbers)
'''
# Another run may be measuring on this machine: `--wait` waits for its end.
QUICK = ["--quick", "--budget", "10s", "--wait"]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    return {"cwd": tmp_path, "env": {**os.environ, "MASTERY_HOME": str(tmp_path / "home")}, "text": True}


def mastery(home: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mastery", *words]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=110, **home)


def test_a_users_own_file_runs_like_ours_and_is_stored(home) -> None:
    ran = mastery(home, "run", "./mine.py", *QUICK)
    assert ran.returncode == 0, ran.stderr
    assert "executes the code of ./mine.py" in ran.stderr
    assert "Touches nothing else" in ran.stdout
    assert "times higher with n=200000 than with n=20000" in ran.stdout
    # Piped: nobody was asked and no progress was drawn.
    assert "prediction" not in ran.stdout
    assert "\r" not in ran.stderr
    assert mastery(home, "results", "sum-cost").stdout.splitlines()[0] == ran.stdout.split("\n\n")[2].splitlines()[0]


def test_with_json_stdout_is_the_sealed_document_and_a_failed_requirement_exits_with_one(home) -> None:
    ran = mastery(home, "run", "./mine.py", *QUICK, "--json", "--require", "p50 <= 1 ns", "--seed", "7")
    assert ran.returncode == 1
    document = decode(ran.stdout.rstrip("\n").encode())
    assert (document.experiment, document.seed, document.prediction.kind) == ("sum-cost", 7, "skipped")
    assert "Not satisfied: p50 <= 1 ns" in ran.stderr


def test_events_are_lines_and_a_requirement_that_holds_exits_with_zero(home) -> None:
    ran = mastery(home, "run", "./mine.py", *QUICK, "--events", "--require", "n=200000: p50 <= 1 s")
    assert ran.returncode == 0, ran.stderr
    events = [from_line(line.encode()) for line in ran.stdout.splitlines()]
    assert json.loads(ran.stdout.splitlines()[0])["event"] == "planned"
    assert events[-1].document.experiment == "sum-cost"


def test_ctrl_c_judges_what_is_finished_and_ends_with_its_own_status(home) -> None:
    command = [sys.executable, "-m", "mastery", "run", "./mine.py", "--wait", "--events"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **home)
    assert running.stdout
    finished = 0
    for line in running.stdout:
        finished += json.loads(line)["event"] == "trialfinished"
        if finished == 6:
            # As a terminal does it: to every process of the group.
            os.killpg(running.pid, signal.SIGINT)
            break
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    document = from_line(rest.splitlines()[-1].encode()).document
    assert document.stopped == "interrupted"
    assert len([trial for trial in document.trials if trial.status == "ok"]) >= 6
    assert mastery(home, "results", document.id).returncode == 0
