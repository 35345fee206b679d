"""The launcher's promises that every change must keep: a first start, an extra, and what is refused."""

import shutil
import sys
from pathlib import Path

import pytest


def test_the_first_start_makes_the_environment_and_runs_the_program(tiny_clone):
    first = tiny_clone.run("hello")
    assert (first.returncode, first.stdout.split()[1:]) == (0, ["hello"])
    assert "Getting 1 packages" in first.stderr
    assert "tiny-base 1.0" in first.stderr
    assert (tiny_clone.environment / "launcher" / "requirements.lock").exists()


def test_without_a_new_enough_python_the_sentence_says_what_to_do(tiny_clone, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for name in ("sh", "dirname", "readlink", "cksum", "cmp"):
        (old / name).symlink_to(shutil.which(name))
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14", "python"):
        (old / name).write_text("#!/bin/sh\nexit 1\n")
        (old / name).chmod(0o755)
    refused = tiny_clone.run(PATH=str(old))
    assert refused.returncode == 4
    assert "no Python 3.11 or newer" in refused.stderr
    (old / "python3.13").unlink()
    (old / "python3.13").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    assert tiny_clone.run("hello", PATH=str(old)).returncode == 0


@pytest.mark.slow
def test_an_extra_that_the_program_lacks_is_added_and_the_program_starts_again(ready_clone):
    done = ready_clone.run("needs-extra")
    assert (done.returncode, done.stdout.split()[1:]) == (0, ["needs-extra"])
    assert "tiny-extra 1.0" in done.stderr
    assert "tiny-base" not in done.stderr
    assert ready_clone.run("needs-extra").stderr == ""


def test_a_pip_that_is_not_the_pinned_one_is_never_run(tiny_clone):
    with next((tiny_clone.folder / "launcher").glob("pip-*.whl")).open("ab") as wheel:
        wheel.write(b"\0")
    refused = tiny_clone.run("hello")
    assert refused.returncode == 4
    assert "SHA-256" in refused.stderr
    assert not tiny_clone.environment.exists()
