"""The launcher on a machine that has nothing but a Python: it makes the environment, once, whole or not at all."""

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

# Each makes an environment of its own, which takes a second or two.
pytestmark = pytest.mark.slow


def test_the_second_start_says_and_writes_nothing_of_its_own(ready_clone, snapshot):
    before = snapshot(ready_clone.environment)
    second = ready_clone.run("hello", MASTERY_OFFLINE="/nowhere")
    assert (second.returncode, second.stderr) == (0, "")
    assert snapshot(ready_clone.environment) == before


def test_the_program_is_the_process_that_was_started(ready_clone):
    with ready_clone.start() as process:
        said, _ = process.communicate()
    assert said.split() == [str(process.pid)]


def test_the_status_of_the_program_is_the_status_of_the_launcher(ready_clone):
    assert ready_clone.run("status", "3").returncode == 3


def test_a_start_through_a_symbolic_link_finds_the_clone(ready_clone, tmp_path):
    link = tmp_path / "bin" / "mastery"
    link.parent.mkdir()
    link.symlink_to("../clone/mastery")
    assert subprocess.run([link], env=ready_clone.variables, check=False, capture_output=True).returncode == 0


def test_the_version_of_the_project_is_known_and_follows_it(ready_clone):
    ask = [
        ready_clone.environment / "bin/python",
        "-c",
        "from importlib.metadata import version; print(version('backend-mastery'))",
    ]
    assert subprocess.check_output(ask, text=True).strip() == "1.2.3"
    project = ready_clone.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("1.2.3", "1.2.4"))
    assert ready_clone.run().returncode == 0
    assert subprocess.check_output(ask, text=True).strip() == "1.2.4"


def test_a_changed_lock_makes_a_new_environment(ready_clone):
    shutil.copy(ready_clone.folder / "requirements-extra.lock", ready_clone.folder / "requirements.lock")
    again = ready_clone.run("hello")
    assert again.returncode == 0
    assert "tiny-extra 1.0" in again.stderr
    assert not list(ready_clone.environment.glob("lib/*/site-packages/tiny_base.py"))


def test_the_scripts_of_the_environment_name_the_place_where_it_lies(ready_clone):
    assert "building" not in (ready_clone.environment / "bin" / "activate").read_text()
    assert "building" not in (ready_clone.environment / "pyvenv.cfg").read_text()


@pytest.mark.parametrize("remains", ["a folder that was being built", "an unfinished addition"])
def test_what_an_interrupted_set_up_left_is_cleared_and_not_used(ready_clone, remains):
    if remains.startswith("a folder"):
        shutil.rmtree(ready_clone.environment)
        half_made = ready_clone.folder / ".venv.building" / "launcher"
        half_made.mkdir(parents=True)
        shutil.copy(ready_clone.folder / "requirements.lock", half_made)
    else:
        (ready_clone.environment / "launcher" / "unfinished").touch()
        next(ready_clone.environment.glob("lib/*/site-packages/tiny_base.py")).unlink()
    assert ready_clone.run("hello").returncode == 0
    assert list(ready_clone.environment.glob("lib/*/site-packages/tiny_base.py"))
    assert not (ready_clone.folder / ".venv.building").exists()


def stop_inside_of_fetching(clone, tmp_path):
    """Starts with a uv that says through a pipe that it is at work and never ends; returns the process at that moment."""
    pipe, folder = tmp_path / "at-work", tmp_path / "bin"
    os.mkfifo(pipe)
    folder.mkdir()
    (folder / "uv").write_text(f"#!/bin/sh\n: >{pipe}\nexec sleep 60\n")
    (folder / "uv").chmod(0o755)
    variables = {name: value for name, value in clone.variables.items() if name != "PIP_PROXY"}
    variables["PATH"] = f"{folder}:{variables['PATH']}"
    process = subprocess.Popen([clone.folder / "mastery"], env=variables, stderr=subprocess.DEVNULL, start_new_session=True)
    pipe.read_bytes()
    return process


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_set_up_that_is_killed_in_the_midst_leaves_the_next_start_nothing_half_made(tiny_clone, tmp_path, kill):
    with stop_inside_of_fetching(tiny_clone, tmp_path) as process:
        os.killpg(process.pid, kill)
    assert process.returncode != 0
    assert not tiny_clone.environment.exists()
    again = tiny_clone.run("hello")
    assert (again.returncode, again.stdout.split()[1:]) == (0, ["hello"])
    assert not (tiny_clone.folder / ".venv.building").exists()


def test_the_next_start_waits_for_a_fetch_that_outlived_its_launcher(tiny_clone, tmp_path):
    with stop_inside_of_fetching(tiny_clone, tmp_path) as process:
        (preparing,) = children_of(process.pid)
        (fetching,) = children_of(preparing)
        os.kill(preparing, signal.SIGKILL)
    with tiny_clone.start("hello") as second:
        assert "waiting" in second.stderr.readline()
        os.kill(fetching, signal.SIGKILL)
        said, _ = second.communicate()
    assert said.split()[1:] == ["hello"]


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_environment_whose_python_is_gone_is_made_anew(ready_clone):
    for name in ("python", "python3"):
        (ready_clone.environment / "bin" / name).unlink()
        (ready_clone.environment / "bin" / name).symlink_to("/nowhere/python3")
    assert ready_clone.run("hello").returncode == 0


def test_a_second_start_at_the_same_time_says_that_it_waits(tiny_clone):
    with (tiny_clone.folder / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tiny_clone.start("hello") as process:
            assert "waiting" in process.stderr.readline()
            fcntl.flock(lock, fcntl.LOCK_UN)
            said, _ = process.communicate()
    assert said.split()[1:] == ["hello"]


def test_a_folder_venv_of_somebody_else_stays_as_it_is(tiny_clone, tmp_path, snapshot):
    (tiny_clone.environment / "bin").mkdir(parents=True)
    (tiny_clone.environment / "bin" / "python").write_text("mine\n")
    before = snapshot(tiny_clone.environment)
    assert tiny_clone.run("hello").returncode == 0
    assert snapshot(tiny_clone.environment) == before
    assert list((tmp_path / ".local/share/mastery/env").glob("*/launcher"))


def test_mastery_home_decides_where_the_environment_lies(tiny_clone, tmp_path):
    assert tiny_clone.run("hello", MASTERY_HOME=str(tmp_path / "elsewhere")).returncode == 0
    assert not tiny_clone.environment.exists()
    assert list((tmp_path / "elsewhere" / "env").glob("*/launcher"))


def test_a_home_that_cannot_be_written_is_refused_with_the_remedy(tiny_clone, tmp_path):
    (tmp_path / "file").touch()
    refused = tiny_clone.run(MASTERY_HOME=str(tmp_path / "file"))
    assert refused.returncode == 4
    assert "Remedy: MASTERY_HOME=FOLDER" in refused.stderr


@pytest.mark.root
def test_a_clone_that_another_user_owns_is_run_from_the_users_own_folder(tiny_clone, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and "pytest" in str(folder):
            folder.chmod(0o755)
    os.chown(home, 1001, 1001)
    as_user = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups"]
    variables = {**tiny_clone.variables, "HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*as_user, tiny_clone.folder / "mastery", "hello"], env=variables, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()[1:]) == (0, ["hello"]), done.stderr
    assert list((home / ".local/share/mastery/env").glob("*/launcher"))
    assert not tiny_clone.environment.exists()
