"""Withdrawals on a real PostgreSQL, in orders that are forced: what each guard prevents, what it costs, what is counted."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import psycopg
import pytest

from mastery.components.postgres_session import PostgresAddress, address_in
from mastery.lab.operation import HistoryEntry, Loader, Retry
from mastery.workloads import accounts
from mastery.workloads.accounts import START, Bank, Guard, cycles_in, make_accounts, money_out_of_nothing


@pytest.fixture
def address(postgres_conninfo: str) -> Iterator[PostgresAddress]:
    """A schema of its own with two pairs of accounts."""
    with closing(psycopg.connect(postgres_conninfo, autocommit=True)) as connection:
        connection.execute("create schema accounts_test")
        try:
            found = address_in(postgres_conninfo, "accounts_test")
            make_accounts(found, 2)
            yield found
        finally:
            connection.execute("drop schema accounts_test cascade")


class Chosen(Random):
    """Draws what it is told to."""

    def __init__(self, account: int = 0) -> None:
        super().__init__(1)
        self._account = account

    def randrange(self, *_: Any) -> int:
        return self._account

    def sample(self, *_: Any, **__: Any) -> list[int]:  # type: ignore[override]
        return [1, 2]


def somebody_waits(asking: Any) -> bool:
    """As the server says, the only one who knows."""
    row = asking.execute("select count(*) from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0").fetchone()
    return bool(row[0])


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def overtaken(address: PostgresAddress, first: Callable[[Any], object], second: Callable[[], object], bank: Bank) -> None:
    """Runs `second` into what `first` has done and not yet committed; commits when the server says that it waits."""
    thread = threading.Thread(target=second, daemon=True)
    with address.connect(autocommit=True) as asking, bank._session(Loader(0, Random(1))) as connection:
        first(connection)
        thread.start()
        until(lambda: somebody_waits(asking))
        connection.commit()
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("guard", "made_up", "retries"),
    [
        (Guard.NONE, 1, 0),
        (Guard.SNAPSHOT, 0, 1),
        (Guard.SERIALIZABLE, 0, 1),
        (Guard.FOR_UPDATE, 0, 0),
        (Guard.VERSIONS, 0, 1),
    ],
)
def test_a_withdrawal_that_reads_before_another_commits_makes_up_money_only_without_a_guard(
    address: PostgresAddress, guard: Guard, made_up: int, retries: int
) -> None:
    bank = Bank(address, guard, 2)
    first, second = Loader(0, Chosen()), Loader(1, Chosen())

    def withdraw() -> None:
        with bank.teller(second) as op:
            op(0)

    overtaken(address, lambda connection: bank._withdraw(connection, 0, first), withdraw, bank)
    withdrawn = first.tally["withdrawn"] + second.tally["withdrawn"]
    assert withdrawn == 2
    assert money_out_of_nothing(address, withdrawn=withdrawn) == made_up
    assert second.tally["retries"] == retries


@pytest.mark.parametrize("guard", Guard)
def test_withdrawals_one_after_the_other_are_exact_under_every_guard(address: PostgresAddress, guard: Guard) -> None:
    bank = Bank(address, guard, 2)
    loader = Loader(0, Random(1))
    with bank.teller(loader) as op:
        for number in range(20):
            op(number)
    assert (loader.tally["withdrawn"], loader.tally["retries"]) == (20, 0)
    assert money_out_of_nothing(address, withdrawn=20) == 0
    assert money_out_of_nothing(address, withdrawn=21) == 1
    assert loader.tally[f"at {guard.level}"] == 1


def test_an_empty_pair_is_left_alone_and_nothing_is_counted_as_withdrawn(address: PostgresAddress) -> None:
    with address.connect(autocommit=True) as connection:
        connection.execute("update accounts set balance = 0 where pair = 0")
    loader = Loader(0, Chosen())
    with Bank(address, Guard.NONE, 2).teller(loader) as op:
        op(0)
    assert loader.tally["withdrawn"] == 0


def skew(address: PostgresAddress, guard: Guard) -> int:
    """Two withdrawals of the last unit of a pair, from different accounts, each before the other commits; what is left."""
    with address.connect(autocommit=True) as connection:
        connection.execute("update accounts set balance = case id when 0 then 1 else 0 end where pair = 0")
    bank = Bank(address, guard, 2)
    with bank._session(Loader(0, Random(1))) as one, bank._session(Loader(0, Random(1))) as two:
        for connection, account in ((one, 0), (two, 1)):
            bank._withdraw(connection, account, Loader(account, Chosen()))
        one.commit()
        two.commit()
    with address.connect(autocommit=True) as connection:
        row = connection.execute("select sum(balance) from accounts where pair = 0").fetchone()
    assert row is not None
    return int(row[0])


def test_a_snapshot_does_not_keep_two_checks_from_passing_that_only_one_may_pass(address: PostgresAddress) -> None:
    assert skew(address, Guard.SNAPSHOT) == -1


def test_serializable_aborts_one_of_two_checks_that_only_one_may_pass(address: PostgresAddress) -> None:
    with pytest.raises(psycopg.errors.SerializationFailure):
        skew(address, Guard.SERIALIZABLE)


def test_what_is_never_committed_is_tried_so_often_and_then_handed_to_the_caller(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_TRIES", 3)
    loader = Loader(0, Chosen())

    def doomed() -> None:
        loader.tally["withdrawn"] += 1
        raise psycopg.errors.SerializationFailure

    with (
        Bank(address, Guard.SERIALIZABLE, 2)._session(Loader(0, Random(1))) as connection,
        pytest.raises(Retry, match="after 3 tries"),
    ):
        accounts._until_committed(connection, loader, doomed)
    # What was rolled back was not withdrawn.
    assert (loader.tally["retries"], loader.tally["withdrawn"]) == (3, 0)


def test_another_failure_is_not_tried_again(address: PostgresAddress) -> None:
    loader = Loader(0, Chosen())
    with Bank(address, Guard.NONE, 2)._session(Loader(0, Random(1))) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        accounts._until_committed(connection, loader, lambda: connection.execute("select * from nowhere"))
    assert loader.tally["retries"] == 0


def recorded(address: PostgresAddress, guard: Guard) -> tuple[HistoryEntry, ...]:
    """Two transactions append to one list, the second begun before the first has committed."""
    bank = Bank(address, guard, 2)
    found: list[HistoryEntry] = []

    def append() -> None:
        with bank.recorder(Loader(1, Chosen())) as op:
            found.append(HistoryEntry(1, 3, 10, "ok", op(0)))

    def first(connection: Any) -> None:
        found.append(HistoryEntry(0, 1, 5, "ok", bank._append(connection, "list1", "list2", 1)))

    overtaken(address, first, append, bank)
    return tuple(found)


@pytest.mark.parametrize("guard", Guard)
def test_an_append_that_was_lost_is_proved_by_the_history_and_only_without_a_guard(address: PostgresAddress, guard: Guard) -> None:
    found = cycles_in(recorded(address, guard), address)
    assert (found["anomalies"] > 0) is (guard is Guard.NONE)


def test_a_history_that_tells_nothing_gives_no_count_of_anomalies(address: PostgresAddress) -> None:
    assert cycles_in((), address) == {}


def test_the_recorder_numbers_its_values_so_that_none_is_written_twice(address: PostgresAddress) -> None:
    bank = Bank(address, Guard.FOR_UPDATE, 2)
    for index in range(2):
        with bank.recorder(Loader(index, Random(index))) as op:
            for number in range(10):
                op(number)
    with address.connect(autocommit=True) as connection:
        lists = [items for (items,) in connection.execute("select items from lists").fetchall()]
    values = [value for items in lists for value in items]
    assert len(values) == len(set(values)) == 20
    with address.connect(autocommit=True) as connection:
        row = connection.execute("select sum(balance), count(*) from accounts").fetchone()
    assert row == (4 * START, 4)
