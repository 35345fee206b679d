import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from stored_runs import a_run, header_of, trial

from mastery.errors import StoreError, UnknownName, UsageError
from mastery.lab.document import RunDocument, canonical
from mastery.lab.histogram import Histogram
from mastery.store.records import LoggedEvent, Origin, Standing
from mastery.store.store import Store

OWNER = "4711 boot namespace 99"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "mastery.sqlite"


def keep(store: Store, document: RunDocument) -> None:
    store.open_run(header_of(document), owner=OWNER)
    for each in document.trials:
        store.append_trial(document.id, each)
    assert store.close_run(document)


def test_a_closed_run_comes_back_byte_for_byte(path: Path) -> None:
    document = a_run()
    with Store.open(path) as store:
        keep(store, document)
        assert store.run(document.id) == document
        assert store.document(document.id) == canonical(document)
    with Store.open(path) as again:
        assert again.run() == document


def test_an_open_run_tells_its_header_its_owner_and_its_trials_in_order(path: Path) -> None:
    document = a_run()
    with Store.open(path) as store:
        store.open_run(header_of(document), owner=OWNER)
        for each in document.trials[:5]:
            store.append_trial(document.id, each)
        (opened,) = store.open_runs()
    assert opened.owner == OWNER
    assert opened.header == header_of(document)
    assert list(opened.trials) == document.trials[:5]


def test_an_open_run_tells_the_latencies_of_each_trial_and_a_closed_one_keeps_no_rows(path: Path) -> None:
    document = a_run()
    latencies = Histogram.from_samples(np.array([1_000, 1_000, 2_500_000, 90_000_000_000]))
    with Store.open(path) as store:
        store.open_run(header_of(document), owner=OWNER)
        store.append_trial(document.id, document.trials[0], latencies)
        store.append_trial(document.id, document.trials[1])
        (opened,) = store.open_runs()
        kept, none = opened.histograms
        assert kept is not None and kept.to_sparse() == latencies.to_sparse() and kept.sum_ns == latencies.sum_ns
        assert none is None
        assert store.close_run(document)
        assert store._connection.execute("SELECT count(*) FROM trials").fetchone() == (0,)


def test_a_killed_run_can_be_closed_as_interrupted_from_what_was_stored(path: Path) -> None:
    document = a_run()
    with Store.open(path) as store:
        store.open_run(header_of(document), owner=OWNER)
        store.append_trial(document.id, document.trials[0])
    with Store.open(path) as janitor:
        (opened,) = janitor.open_runs()
        closed = a_run(trials=list(opened.trials), stopped="interrupted")
        assert janitor.close_run(closed)
        assert janitor.open_runs() == []
        assert [row.standing for row in janitor.runs()] == [Standing.INTERRUPTED]
        assert janitor.run().trials == document.trials[:1]


def test_the_second_of_two_janitors_changes_nothing(path: Path) -> None:
    with Store.open(path) as first, Store.open(path) as second:
        first.open_run(header_of(a_run()), owner=OWNER)
        assert first.close_run(a_run(trials=[], stopped="interrupted"))
        assert not second.close_run(a_run(trials=[], stopped="interrupted", finished="2026-11-22T10:09:00Z"))
        assert second.run().finished == "2026-11-22T10:00:30Z"


def test_a_closed_run_takes_no_more_trials_and_never_changes(path: Path) -> None:
    document = a_run()
    with Store.open(path) as store:
        keep(store, document)
        with pytest.raises(StoreError, match="is not open"):
            store.append_trial(document.id, trial(9, 0))
        assert not store.close_run(a_run(seed=8))
        assert store.run() == document
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError, match="never changes"):
        connection.execute("UPDATE runs SET document = x'00', hash = 'x'")
    connection.close()


def test_trials_that_a_document_does_not_hold_stay_in_the_store(path: Path) -> None:
    document = a_run()
    with Store.open(path) as store:
        store.open_run(header_of(document), owner=OWNER)
        for each in document.trials[:4]:
            store.append_trial(document.id, each)
        store.close_run(a_run(trials=document.trials[:3]))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM trials").fetchone() == (4,)
    connection.close()


def test_a_run_that_could_not_be_opened_is_taken_whole_at_its_close(path: Path) -> None:
    with Store.open(path) as store:
        assert store.close_run(a_run())
        assert store.run() == a_run()


def test_a_figure_that_is_not_finite_is_refused_before_it_reaches_the_file(path: Path) -> None:
    with Store.open(path) as store:
        store.open_run(header_of(a_run()), owner=OWNER)
        with pytest.raises(ValueError, match="infinite"):
            store.append_trial("run-aaaa", trial(0, 0, metrics={"p50": float("nan")}))
        assert store.open_runs()[0].trials == ()


def test_rows_come_newest_first_and_can_be_filtered(path: Path) -> None:
    with Store.open(path) as store:
        for day in (1, 3, 2):
            store.close_run(a_run(f"run-day{day}", started=f"2026-11-0{day}T10:00:00Z"))
        store.close_run(a_run("other-run", experiment="rename-dance", started="2026-11-05T10:00:00Z"))
        assert [row.id for row in store.runs()] == ["other-run", "run-day3", "run-day2", "run-day1"]
        assert [row.id for row in store.runs(experiment="fsync-cost", limit=2)] == ["run-day3", "run-day2"]
        assert store.runs(machine="another") == []
        assert store.runs(origin=Origin.IMPORTED) == []


def test_a_run_is_found_by_id_by_beginning_by_latest_and_by_experiment(path: Path) -> None:
    with Store.open(path) as store:
        store.close_run(a_run("abcd-1", started="2026-11-01T10:00:00Z"))
        store.close_run(a_run("abcd-12", started="2026-11-02T10:00:00Z", experiment="rename-dance"))
        assert store.find("abcd-1").id == "abcd-1", "an exact id wins over a longer one with the same beginning"
        assert store.find("abcd-12").id == "abcd-12"
        assert store.find("latest").id == "abcd-12"
        assert store.find("fsync-cost").id == "abcd-1"
        with pytest.raises(UsageError, match="several runs: abcd-12, abcd-1"):
            store.find("abcd")
        with pytest.raises(UnknownName, match="Did you mean"):
            store.find("fsync-cots")
        with pytest.raises(UnknownName):
            store.find("%")


def test_an_experiment_is_never_taken_for_the_beginning_of_an_id(path: Path) -> None:
    with Store.open(path) as store:
        for day in (1, 2, 3):
            store.close_run(a_run(f"fsync-cost-{day}", started=f"2026-11-0{day}T10:00:00Z"))
        assert store.find("fsync-cost").id == "fsync-cost-3"
        assert store.find("fsync-cost-2").id == "fsync-cost-2"
        store.close_run(a_run("rename-dance-1", experiment="rename-dance"))
        assert store.find("rename-d").id == "rename-dance-1"


def test_a_run_that_is_still_measured_is_not_shown_as_a_result(path: Path) -> None:
    with Store.open(path) as store:
        store.open_run(header_of(a_run()), owner=OWNER)
        with pytest.raises(UsageError, match="not closed yet"):
            store.run("run-aaaa")
        with pytest.raises(UnknownName):
            store.run("latest")


def test_an_event_is_added_once_and_never_changes(path: Path) -> None:
    event = LoggedEvent("e1", "2026-11-22T10:00:00Z", "me", "predicted", {"answer": "10x"})
    with Store.open(path) as store:
        assert store.add_event(event)
        assert not store.add_event(event)
        store.add_event(LoggedEvent("e0", "2026-11-22T09:00:00Z", "you", "ran", {}))
        assert [each.id for each in store.events()] == ["e0", "e1"]
        assert store.events(kind="predicted") == [event]
        assert [each.id for each in store.events(actor="you")] == ["e0"]
    connection = sqlite3.connect(path)
    for change in ("UPDATE events SET body = x'00'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(change)
    connection.close()


def test_nobody_else_can_read_the_store(path: Path) -> None:
    with Store.open(path) as store:
        store.close_run(a_run())
        for each in (path, path.with_name(path.name + "-wal")):
            assert stat.S_IMODE(each.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_trials_are_not_flushed_to_the_disk_and_closed_runs_are(path: Path) -> None:
    with Store.open(path) as store:
        statements: list[str] = []
        store._connection.set_trace_callback(statements.append)
        store.open_run(header_of(a_run()), owner=OWNER)
        store.append_trial("run-aaaa", trial(0, 0))
        store.close_run(a_run())
    levels = [each.split("= ")[1] for each in statements if each.startswith("PRAGMA synchronous")]
    assert levels == ["FULL", "NORMAL", "FULL"]


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from stored_runs import a_run, header_of, trial
from mastery.store.store import Store
with Store.open(Path(sys.argv[1])) as store:
    store.open_run(header_of(a_run("run-" + sys.argv[3])), owner="1 b n 2")
    for block in range(int(sys.argv[4])):
        store.append_trial("run-" + sys.argv[3], trial(block, 0))
        print(block, flush=True)
    sys.stdin.read()
"""


def writer(path: Path, name: str, trials: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent), name, str(trials)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_every_finished_trial_survives_kill_9(path: Path) -> None:
    with writer(path, "killed", 1_000_000) as process:
        assert process.stdout is not None
        for _ in range(20):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().splitlines() if line)])
    with Store.open(path) as store:
        kept = store.open_runs()[0].trials
        assert store.problems() == []
    # A number may be cut short by the kill, so at least those; at most the one that was being acknowledged more.
    assert len(kept) >= acknowledged + 1
    assert [each.block for each in kept] == list(range(len(kept)))


def test_two_processes_make_and_fill_one_store_at_once(path: Path) -> None:
    processes = [writer(path, str(number), 40) for number in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with Store.open(path) as store:
        assert sorted(len(opened.trials) for opened in store.open_runs()) == [40, 40, 40, 40]


def test_a_store_is_refused_in_a_forked_process(path: Path) -> None:
    with Store.open(path) as store:
        child = os.fork()
        if child == 0:
            try:
                store.runs()
            except AssertionError:
                os._exit(42)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_stored_header_with_wrong_json_is_called_damage(path: Path) -> None:
    with Store.open(path) as store:
        store.open_run(header_of(a_run()), owner=OWNER)
        store._connection.execute("UPDATE runs SET header = x'7b'")
        with pytest.raises(StoreError, match="damaged"):
            store.open_runs()


def test_a_document_changed_behind_our_back_is_called_damage(path: Path) -> None:
    with Store.open(path) as store:
        forged = msgspec.structs.replace(a_run(), seed=99)
        store.close_run(forged)
        with pytest.raises(StoreError, match="does not match its hash"):
            store.run()


def test_no_checkpoint_reaches_the_disk_while_a_run_is_measured(path: Path) -> None:
    with Store.open(path) as store:
        store.open_run(header_of(a_run()), owner=OWNER)
        before = path.stat()
        for block in range(3000):
            store.append_trial("run-aaaa", trial(block, 0))
        log = path.with_name(path.name + "-wal")
        assert log.stat().st_size > 2 * 1000 * 4096, "enough for SQLite's own checkpoint at 1,000 pages, twice"
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        store.close_run(a_run())
        assert path.stat().st_size > before.st_size


def test_a_second_store_in_one_process_leaves_the_locks_of_the_first_alone(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    other = "import sys\nfrom pathlib import Path\nfrom mastery.store.store import Store\nStore.open(Path(sys.argv[1])).close()"
    with Store.open(path) as first:
        first.open_run(header_of(a_run()), owner=OWNER)
        with Store.open(path):
            pass
        # Whoever believes to be the last one to leave folds the log into the file and removes it.
        subprocess.run([sys.executable, "-c", other, str(path)], check=True)
        assert log.exists()
        first.append_trial("run-aaaa", trial(0, 0))
    with Store.open(path) as again:
        assert len(again.open_runs()[0].trials) == 1
