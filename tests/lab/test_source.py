"""Which text was run: a changed module, workload or component is changed code."""

import hashlib
import shutil
from pathlib import Path

import pytest

from mastery.articles.file_io_durability.fsync_cost import fsync_cost
from mastery.lab import source
from mastery.lab.source import PACKAGE, code_hash, source_hash


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of some of the package, which `code_hash` takes for the whole."""
    for name in ("workloads", "lab"):
        shutil.copytree(PACKAGE / name, tmp_path / "mastery" / name)
    monkeypatch.setattr(source, "PACKAGE", tmp_path / "mastery")
    return tmp_path / "mastery"


def code() -> str:
    source._package_hash.cache_clear()
    return code_hash(fsync_cost.trial)


def test_the_source_is_the_text_of_the_module_alone() -> None:
    text = (PACKAGE / "articles" / "file_io_durability" / "fsync_cost.py").read_bytes()
    assert fsync_cost.source == source_hash(fsync_cost.trial) == hashlib.sha256(text).hexdigest()
    assert fsync_cost.code not in ("", fsync_cost.source)


def test_a_changed_workload_is_changed_code(copied: Path) -> None:
    before = code()
    assert code() == before
    workload = copied / "workloads" / "append_log.py"
    workload.write_text(workload.read_text() + "# another word\n")
    assert code() != before


def test_a_module_under_another_name_is_changed_code_and_what_is_no_module_is_none(copied: Path) -> None:
    before = code()
    (copied / "notes.txt").write_text("nobody runs this")
    assert code() == before
    (copied / "workloads" / "append_log.py").rename(copied / "workloads" / "another_log.py")
    assert code() != before


def test_two_experiments_of_one_package_have_a_code_of_their_own() -> None:
    def mine() -> None:
        return

    assert code_hash(mine) != fsync_cost.code
