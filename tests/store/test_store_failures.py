import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from stored_runs import a_run, header_of, trial

from mastery.errors import StoreError
from mastery.lab.document import canonical
from mastery.lab.histogram import EMPTY
from mastery.store.schema import connect_to_write, migrations
from mastery.store.store import Store
from mastery.store.transfer import spill

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mastery.sqlite"


def in_a_child(work: Callable[[], None]) -> str:
    """What the `StoreError` of `work` said (message and remedy), tried in a process of its own; empty when it went well."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except StoreError as error:
            os.write(write, f"{error.message} | {error.remedy}".encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child met something else than a StoreError"
    return said


def as_nobody() -> None:
    """Gives up root, which no permission bit holds back."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.fixture
def locked_home(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds a store with one run and can only be read by the one who looks."""
    # pytest's own folder is closed to others; nobody must be able to walk through it.
    for folder in [*tmp_path.parents][:3]:
        if os.geteuid() == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o011)
    home = tmp_path / "home"
    with Store.open(home / "mastery.sqlite") as store:
        store.close_run(a_run())
    (home / "mastery.sqlite").chmod(0o444)
    home.chmod(0o555)
    tmp_path.chmod(0o755)
    yield home
    home.chmod(0o755)


def test_a_read_only_home_is_refused_for_writing_with_the_remedy(locked_home: Path) -> None:
    def work() -> None:
        as_nobody()
        Store.open(locked_home / "mastery.sqlite")

    said = in_a_child(work)
    assert "cannot be written" in said
    assert "MASTERY_HOME=FOLDER" in said


def test_a_read_only_home_still_shows_its_runs(locked_home: Path) -> None:
    def work() -> None:
        as_nobody()
        with Store.open_to_read(locked_home / "mastery.sqlite") as store:
            assert store.run() == a_run()
            assert store.open_runs() == []

    assert in_a_child(work) == ""


def test_a_home_that_cannot_be_made_is_refused_with_the_remedy(locked_home: Path) -> None:
    def work() -> None:
        as_nobody()
        Store.open(locked_home / "below" / "mastery.sqlite")

    assert "MASTERY_HOME=FOLDER" in in_a_child(work)


def test_reading_where_no_store_is_says_so_and_makes_none(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open_to_read(path)
    assert not path.exists()


def test_a_file_that_may_not_grow_refuses_the_trial_and_keeps_the_finished_ones(path: Path) -> None:
    def work() -> None:
        with Store.open(path) as store:
            store.open_run(header_of(a_run()), owner="1 b n 2")
            store.append_trial("run-aaaa", trial(0, 0))
            log_byte = path.with_name(path.name + "-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (log_byte + 20_000, log_byte + 20_000))
            for block in range(1, 1000):
                store.append_trial("run-aaaa", trial(block, 0))

    said = in_a_child(work)
    assert "cannot grow" in said
    assert "df -h" in said
    with Store.open(path) as store:
        (opened,) = store.open_runs()
        assert [each.block for each in opened.trials] == list(range(len(opened.trials)))
        assert 1 <= len(opened.trials) < 1000
        assert store.problems() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_a_full_disk_loses_no_finished_trial_and_the_run_is_spilled_elsewhere(small_disk: Path, tmp_path: Path) -> None:
    path = small_disk / "mastery.sqlite"
    kept = 0
    with Store.open(path) as store:
        store.open_run(header_of(a_run()), owner="1 b n 2")
        with pytest.raises(StoreError, match=r"cannot grow \(SQLITE_"):
            while True:
                store.append_trial("run-aaaa", trial(kept, 0, notes={"x": "y" * 3000}))
                kept += 1
        document = a_run(trials=[trial(block, 0, notes={"x": "y" * 3000}) for block in range(kept + 1)])
        with pytest.raises(StoreError, match="cannot grow"):
            store.close_run(document)
        with pytest.raises(StoreError, match="cannot grow"):
            spill(document, [small_disk])
        spilled = spill(document, [small_disk, tmp_path])
        assert spilled.parent == tmp_path
        assert canonical(document) in spilled.read_bytes()
        assert list(small_disk.glob("*.jsonl")) == [], "no half-written file is left behind"
    with Store.open_to_read(path) as store:
        assert len(store.open_runs()[0].trials) == kept > 10


@pytest.mark.root
def test_a_full_disk_that_is_cleared_takes_the_run_after_all(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with Store.open(small_disk / "mastery.sqlite") as store:
        store.open_run(header_of(a_run()), owner="1 b n 2")
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(StoreError, match="cannot grow"):
            store.close_run(a_run())
        ballast.unlink()
        assert store.close_run(a_run())
        assert store.run() == a_run()


@pytest.mark.root
def test_a_disk_mounted_read_only_is_refused_for_writing(small_disk: Path) -> None:
    path = small_disk / "mastery.sqlite"
    with Store.open(path) as store:
        store.close_run(a_run())
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match="cannot be written"):
        Store.open(path)
    with Store.open_to_read(path) as store:
        assert store.run() == a_run()


def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.write_bytes(b"my diary, not a database " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is damaged") as refusal:
        Store.open(path)
    assert ".recover" in refusal.value.remedy
    assert path.read_bytes() == before


def test_a_database_with_broken_pages_is_refused_and_kept(path: Path) -> None:
    with Store.open(path) as store:
        for number in range(20):
            store.close_run(a_run(f"run-{number}"))
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xde\xad" * 100
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"), Store.open(path) as store:
        store.run("run-3")
    with Store.open(path) as store:
        assert store.problems() != []


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    with Store.open(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for open_store in (Store.open, Store.open_to_read):
        with pytest.raises(StoreError, match="schema 99; this version of Mastery knows schemas up to") as refusal:
            open_store(path)
        assert "Update Mastery" in refusal.value.remedy


def test_a_migration_that_fails_leaves_the_schema_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migrations(), "CREATE TABLE added (x INTEGER);\nINSERT INTO nowhere VALUES (1);\n"]
    with Store.open(path) as store:
        store.close_run(a_run())
    monkeypatch.setattr("mastery.store.schema.migrations", lambda: broken)
    with pytest.raises(StoreError, match="no such table"):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert store.run() == a_run()
        assert store._connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'added'").fetchone() == (0,)


def test_a_store_of_the_first_schema_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        store.close_run(a_run())
    second = [*migrations(), "ALTER TABLE runs ADD COLUMN note TEXT;\nCREATE INDEX notes ON runs (note);\n"]
    monkeypatch.setattr("mastery.store.schema.migrations", lambda: second)
    with Store.open(path) as store:
        assert store.run() == a_run()
        assert store._connection.execute("PRAGMA user_version").fetchone() == (len(second),)


def test_a_run_that_the_first_schema_left_open_has_trials_without_latencies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("mastery.store.schema.migrations", lambda: migrations()[:1])
        with Store.open(path) as store:
            store.open_run(header_of(a_run()), owner="1 b n 2")
            record = msgspec.json.encode(trial(0, 0))
            store._connection.execute("INSERT INTO trials (run, sequence, record) VALUES ('run-aaaa', 0, ?)", (record,))
    with Store.open(path) as store:
        store.append_trial("run-aaaa", trial(1, 0), EMPTY)
        (opened,) = store.open_runs()
    assert (len(opened.trials), opened.histograms[0]) == (2, None)


def test_a_lock_held_too_long_is_named(path: Path) -> None:
    with Store.open(path, timeout_s=0.05) as store:
        store.open_run(header_of(a_run()), owner="1 b n 2")
        holder = connect_to_write(path)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="stayed locked") as refusal:
            store.append_trial("run-aaaa", trial(0, 0))
        assert "fuser" in refusal.value.remedy
        holder.execute("ROLLBACK")
        holder.close()
        store.append_trial("run-aaaa", trial(0, 0))
        assert len(store.open_runs()[0].trials) == 1


def test_a_first_start_waits_for_another_and_names_it_when_it_takes_too_long(path: Path) -> None:
    holder = (
        "import fcntl, os, sys\nfcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\nprint(flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreError, match="stayed locked"):
            Store.open(path, timeout_s=0.05)
        process.communicate()
    with Store.open(path) as store:
        assert store.runs() == []


def test_reading_goes_on_while_another_process_writes(path: Path) -> None:
    with Store.open(path) as store, Store.open_to_read(path) as reader:
        store.close_run(a_run("one"))
        store._connection.execute("BEGIN IMMEDIATE")
        assert [row.id for row in reader.runs()] == ["one"]
        store._connection.execute("ROLLBACK")
