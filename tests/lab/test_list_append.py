"""List appends are judged rightly on stores whose isolation is known, and on every single anomaly."""

from random import Random

import pytest

from mastery.errors import DomainError
from mastery.lab.anomalies import Anomaly
from mastery.lab.history.list_append import (
    Append,
    Broken,
    ReadList,
    Transaction,
    check_list_append,
    transactions_of,
)
from mastery.lab.history.operations import End
from mastery.lab.history.transactions import Judgement
from mastery.lab.operation import HistoryEntry


def a(key: str, value: int) -> Append:
    return Append(key, value)


def r(key: str, *values: int) -> ReadList:
    return ReadList(key, values)


def done(*actions: Append | ReadList, end: End = End.OK) -> Transaction:
    return Transaction(actions, end)


@pytest.mark.parametrize(
    ("transactions", "anomalies"),
    [
        ([done(a("x", 1)), done(r("x", 1), a("x", 2)), done(r("x", 1, 2))], set()),
        # Overwrites in a circle, seen by a third.
        ([done(a("x", 1), a("y", 1)), done(a("x", 2), a("y", 2)), done(r("x", 1, 2), r("y", 2, 1))], {Anomaly.G0}),
        ([done(a("x", 1), end=End.FAIL), done(r("x", 1))], {Anomaly.G1A}),
        # An aborted transaction is in no cycle, whatever was seen of it.
        ([done(a("x", 1), a("y", 2), end=End.FAIL), done(r("x", 1), a("y", 1)), done(r("y", 1, 2))], {Anomaly.G1A}),
        ([done(a("x", 1), a("x", 2)), done(r("x", 1)), done(r("x", 1, 2))], {Anomaly.G1B, Anomaly.G_SINGLE}),
        ([done(a("x", 1), r("y", 1)), done(a("y", 1), r("x", 1))], {Anomaly.G1C}),
        ([done(r("x"), r("y", 1)), done(a("x", 1), a("y", 1)), done(r("x", 1))], {Anomaly.G_SINGLE}),
        ([done(r("x"), a("y", 1)), done(r("y"), a("x", 1)), done(r("x", 1), r("y", 1))], {Anomaly.G2_ITEM}),
        # A lost update by lists: both read nothing, and both append.
        ([done(r("x"), a("x", 1)), done(r("x"), a("x", 2)), done(r("x", 1, 2))], {Anomaly.G_SINGLE}),
        ([done(a("x", 1)), done(r("x", 1, 1))], {Broken.DUPLICATE}),
        ([done(r("x", 9))], {Broken.GARBAGE}),
        ([done(a("x", 1)), done(a("x", 2)), done(r("x", 1)), done(r("x", 2))], {Broken.FORKED}),
        ([done(a("x", 1), r("x"))], {Broken.INTERNAL}),
        ([done(a("x", 1)), done(a("x", 2)), done(r("x", 1, 2), r("x", 1))], {Broken.INTERNAL, Anomaly.G_SINGLE}),
    ],
)
def test_each_anomaly_is_found_and_nothing_else(transactions: list[Transaction], anomalies: set[Anomaly | Broken]) -> None:
    report = check_list_append(transactions)
    assert report.anomalies == anomalies
    assert report.judgement is (Judgement.ANOMALOUS if anomalies else Judgement.CLEAN)
    assert len(report.why) == len(anomalies)


def test_the_cycle_is_told_with_keys_values_and_transactions() -> None:
    report = check_list_append([done(r("x"), a("y", 1)), done(r("y"), a("x", 1)), done(r("x", 1), r("y", 1))])
    assert report.why == (
        "G2-item: T1 before T2 (rw: appended 1 to x, which it had read without); "
        "T2 before T1 (rw: appended 1 to y, which it had read without); so T1 would come before itself.",
    )


def test_a_committed_append_is_lost_only_against_the_final_lists() -> None:
    transactions = [done(a("x", 1)), done(a("x", 2)), done(r("x", 1))]
    assert check_list_append(transactions).judgement is Judgement.CLEAN
    report = check_list_append(transactions, final={"x": [1]})
    assert report.anomalies == {Broken.LOST}
    assert "T2 committed 2 to x" in report.why[0]
    assert check_list_append(transactions, final={"x": [1, 2]}).judgement is Judgement.CLEAN


def test_an_append_of_unknown_end_may_be_there_or_not() -> None:
    unknown = done(a("x", 1), end=End.UNKNOWN)
    assert check_list_append([unknown, done(r("x"))], final={"x": []}).judgement is Judgement.CLEAN
    assert check_list_append([unknown, done(r("x", 1))], final={"x": [1]}).judgement is Judgement.CLEAN


def test_what_an_unfinished_transaction_read_proves_nothing() -> None:
    torn = [done(a("x", 1), a("y", 1)), done(r("x"), r("y", 1), end=End.FAIL), done(r("x", 1))]
    assert check_list_append(torn).judgement is Judgement.CLEAN


def test_without_any_read_the_answer_is_unknown() -> None:
    report = check_list_append([done(a("x", 1)), done(a("x", 2))])
    assert report.judgement is Judgement.UNKNOWN
    assert "nothing could be inferred" in report.why[0]


def test_a_value_appended_twice_is_refused_as_a_workload_that_cannot_be_checked() -> None:
    with pytest.raises(DomainError, match="appended to 'x' twice"):
        check_list_append([done(a("x", 1)), done(a("x", 1))])


def test_the_engine_s_history_becomes_transactions() -> None:
    history = [HistoryEntry(0, 1, 2, "ok", (r("x", 1),)), HistoryEntry(1, 1, 2, "retry", (a("x", 1),))]
    history += [HistoryEntry(2, 1, 2, "unknown", (a("x", 2), ReadList("x")))]
    assert [each.end for each in transactions_of(history)] == [End.OK, End.FAIL, End.UNKNOWN]
    with pytest.raises(DomainError, match="left 7"):
        transactions_of([HistoryEntry(0, 1, 2, "ok", 7)])


class Store:
    """Lists in memory, driven one action at a time by several transactions at once."""

    def __init__(self, isolation: str) -> None:
        self.isolation = isolation
        self.lists: dict[str, tuple[int, ...]] = {}
        self.versions: dict[str, int] = {}
        self.clock = 0

    def begin(self) -> "Running":
        return Running(self, dict(self.lists), self.clock)


class Running:
    def __init__(self, store: Store, snapshot: dict[str, tuple[int, ...]], started: int) -> None:
        self.store, self.view, self.started = store, snapshot, started
        self.done: list[Append | ReadList] = []
        self.written: set[str] = set()

    def act(self, action: Append | ReadList) -> None:
        lists = self.store.lists if self.store.isolation == "none" else self.view
        if isinstance(action, Append):
            lists[action.key] = (*lists.get(action.key, ()), action.value)
            self.written.add(action.key)
            self.done.append(action)
        else:
            self.done.append(ReadList(action.key, lists.get(action.key, ())))

    def end(self) -> Transaction:
        store = self.store
        if store.isolation == "snapshot":
            if any(store.versions.get(key, 0) > self.started for key in self.written):
                return Transaction(tuple(self.done), End.FAIL)
            store.clock += 1
            for key in self.written:
                store.lists[key] = self.view[key]
                store.versions[key] = store.clock
        return Transaction(tuple(self.done), End.OK)


def simulated(isolation: str, *, seed: int, transactions: int) -> tuple[list[Transaction], dict[str, tuple[int, ...]]]:
    """A serial store runs one transaction at a time; the others interleave four."""
    random, store, finished, number = Random(seed), Store(isolation), [], 0
    at_once = 1 if isolation == "serial" else 4
    open_ones: list[Running] = []
    while len(finished) < transactions:
        while len(open_ones) < at_once:
            open_ones.append(store.begin())
        one = random.choice(open_ones)
        if len(one.done) == 4:
            open_ones.remove(one)
            if store.isolation == "serial":
                store.lists |= {key: one.view[key] for key in one.written}
            finished.append(one.end())
            continue
        number += 1
        key = random.choice("abc")
        one.act(Append(key, number) if random.random() < 0.5 else ReadList(key))
    # A store in which nothing waits still holds what its open transactions wrote: their ends are unknown.
    finished += [Transaction(tuple(one.done), End.UNKNOWN) for one in open_ones]
    return finished, store.lists


@pytest.mark.parametrize("seed", range(5))
def test_a_serial_store_shows_nothing(seed: int) -> None:
    transactions, final = simulated("serial", seed=seed, transactions=300)
    assert check_list_append(transactions, final=final).judgement is Judgement.CLEAN


@pytest.mark.parametrize("seed", range(5))
def test_snapshot_isolation_shows_write_skew_and_nothing_else(seed: int) -> None:
    transactions, final = simulated("snapshot", seed=seed, transactions=300)
    assert any(each.end is End.FAIL for each in transactions), "the first committer wins, so some lose"
    assert check_list_append(transactions, final=final).anomalies == {Anomaly.G2_ITEM}


@pytest.mark.parametrize("seed", range(5))
def test_a_store_without_isolation_shows_dirty_writes_and_reads(seed: int) -> None:
    transactions, final = simulated("none", seed=seed, transactions=300)
    assert check_list_append(transactions, final=final).anomalies >= {Anomaly.G0, Anomaly.G1C, Anomaly.G_SINGLE}


def test_a_history_of_20_000_transactions_is_checked_whole() -> None:
    transactions, final = [], {}
    for number in range(20_000):
        key = f"k{number % 500}"
        final[key] = (*final.get(key, ()), number)
        transactions.append(done(ReadList(key, final[key][:-1]), a(key, number)))
    assert check_list_append(transactions, final=final).judgement is Judgement.CLEAN
