"""What the launcher fetches, what it refuses, and the extra that a program asks for."""

import shutil

import pytest

# Each makes an environment of its own, which takes a second or two.
pytestmark = pytest.mark.slow


def test_a_program_that_is_never_content_is_not_started_for_ever(ready_clone):
    done = ready_clone.run("never-content")
    assert done.returncode == 4
    assert "Remedy" in done.stderr


def test_an_extra_that_cannot_be_fetched_leaves_the_environment_as_good_as_it_was(ready_clone):
    shutil.rmtree(ready_clone.wheels)
    ready_clone.wheels.mkdir()
    refused = ready_clone.run("needs-extra")
    assert refused.returncode == 4
    assert "--offline DIR" in refused.stderr or "pip" in refused.stderr
    assert ready_clone.run("hello").stderr == ""


def test_an_added_extra_survives_a_change_of_the_base(ready_clone):
    assert ready_clone.run("needs-extra").returncode == 0
    base = ready_clone.folder / "requirements.lock"
    base.write_text("# newer\n" + base.read_text())
    assert "tiny-extra 1.0" in ready_clone.run("hello").stderr
    assert ready_clone.run("needs-extra").stderr == ""


def test_a_package_that_is_not_the_one_of_the_lock_is_refused(tiny_clone):
    lock = tiny_clone.folder / "requirements.lock"
    lock.write_text(lock.read_text().partition("sha256:")[0] + "sha256:" + "0" * 64 + "\n")
    refused = tiny_clone.run("hello")
    assert refused.returncode == 4
    assert "not the one that the lock names" in refused.stderr
    assert not tiny_clone.environment.exists()
    assert not (tiny_clone.folder / ".venv.building").exists()


def test_without_a_network_the_refusal_names_the_way_without_one(tiny_clone):
    del tiny_clone.variables["MASTERY_OFFLINE"]
    # The port of the discard service on loopback: nothing listens, so the answer is immediate.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    refused = tiny_clone.run("hello", **nowhere)
    assert refused.returncode == 4
    assert "./mastery --offline DIR" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("spelling", [["--offline", "WHEELS"], ["--offline=WHEELS"]])
def test_wheels_from_a_folder_need_no_network(tiny_clone, spelling):
    del tiny_clone.variables["MASTERY_OFFLINE"]
    words = [word.replace("WHEELS", str(tiny_clone.wheels)) for word in spelling]
    done = tiny_clone.run(*words, "hello", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert (done.returncode, done.stdout.split()[1:]) == (0, ["hello"])


def test_offline_without_its_folder_is_a_usage_error(tiny_clone):
    assert tiny_clone.run("--offline").returncode == 2


def put_uv_on_the_path(clone, tmp_path, *, status):
    """A uv that notes what it is asked and ends with the status; the note is returned."""
    note, folder = tmp_path / "asked", tmp_path / "bin"
    folder.mkdir()
    (folder / "uv").write_text(f'#!/bin/sh\necho "$@" > {note}\nexit {status}\n')
    (folder / "uv").chmod(0o755)
    del clone.variables["PIP_PROXY"]
    clone.variables["PATH"] = f"{folder}:{clone.variables['PATH']}"
    return note


def test_uv_gets_the_same_locks_and_hashes(tiny_clone, tmp_path):
    note = put_uv_on_the_path(tiny_clone, tmp_path, status=0)
    assert tiny_clone.run("hello").returncode == 0
    assert "--require-hashes --only-binary :all:" in note.read_text()
    assert f"-r {tiny_clone.folder / 'requirements.lock'}" in note.read_text()


def test_where_uv_fails_pip_does_it(tiny_clone, tmp_path):
    note = put_uv_on_the_path(tiny_clone, tmp_path, status=1)
    assert tiny_clone.run("hello").returncode == 0
    assert note.exists()
    assert list(tiny_clone.environment.glob("lib/*/site-packages/tiny_base.py"))


def test_uv_is_not_asked_where_pip_was_configured(tiny_clone, tmp_path):
    note = put_uv_on_the_path(tiny_clone, tmp_path, status=0)
    assert tiny_clone.run("hello", PIP_INDEX_URL="http://127.0.0.1:9/simple").returncode == 0
    assert not note.exists()
