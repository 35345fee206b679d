"""Transfers on a real PostgreSQL, run into each other on purpose: who deadlocks, who waits, and that no money is lost."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import psycopg
import pytest

from mastery.components.postgres_session import PostgresAddress, address_in
from mastery.lab.operation import Loader, Retry
from mastery.workloads import transfers
from mastery.workloads.transfers import Order, Transfers, deadlocks_seen_by_server, make_ledger, money_moved

ACCOUNTS = 4


@pytest.fixture
def address(postgres_conninfo: str) -> Iterator[PostgresAddress]:
    """A ledger in a schema of its own; its server looks for deadlocks early."""
    with closing(psycopg.connect(postgres_conninfo, autocommit=True)) as connection:
        connection.execute("create schema transfers_test")
        try:
            impatient = psycopg.conninfo.make_conninfo(postgres_conninfo, options="-c deadlock_timeout=50ms")
            found = address_in(impatient, "transfers_test")
            make_ledger(found, ACCOUNTS)
            yield found
        finally:
            connection.execute("drop schema transfers_test cascade")


class FromTwoToOne(Random):
    """Draws the accounts in falling order."""

    def sample(self, *_: Any, **__: Any) -> list[int]:  # type: ignore[override]
        return [2, 1]


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def met_half_way(address: PostgresAddress, order: Order) -> tuple[Loader, int]:
    """A transfer from 2 to 1 that meets one from 1 to 2 which has locked 1; its loader, and how often the other fell."""
    fell = 0
    loader = Loader(0, FromTwoToOne(1))

    def transfer() -> None:
        with Transfers(address, order, ACCOUNTS).teller(loader) as op:
            op(0)

    thread = threading.Thread(target=transfer, daemon=True)
    with address.connect(autocommit=True) as asking, address.connect() as other:

        def waits() -> bool:
            row = asking.execute("select count(*) from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0").fetchone()
            return bool(row and row[0])

        if order is Order.ADVISORY:
            other.execute("select pg_advisory_xact_lock(4711)")
        other.execute("update ledger set balance = balance - 1 where id = 1")
        thread.start()
        until(waits)
        # Each looks for a deadlock once, when it has waited for a while: whoever comes too late for that is the victim.
        try:
            other.execute("update ledger set balance = balance + 1 where id = 2")
            other.commit()
        except psycopg.errors.DeadlockDetected:
            other.rollback()
            other.execute("select pg_stat_force_next_flush()")
            other.commit()
            fell = 1
        thread.join(60)
    assert not thread.is_alive()
    return loader, fell


@pytest.mark.parametrize(
    ("order", "deadlocks", "retries"),
    [(Order.AS_IT_COMES, True, False), (Order.SORTED, False, False), (Order.TIMEOUT, False, True), (Order.ADVISORY, False, False)],
)
def test_only_locking_as_it_comes_ends_in_a_deadlock_and_clients_and_server_count_it_alike(
    address: PostgresAddress, order: Order, deadlocks: bool, retries: bool
) -> None:
    before = deadlocks_seen_by_server(address)
    loader, fell = met_half_way(address, order)
    # The victim may be faster with its second try than the other with its first: then they meet once more.
    assert (loader.tally["deadlocks"] + fell > 0) is deadlocks
    assert (loader.tally["retries"] > loader.tally["deadlocks"]) is retries
    assert deadlocks_seen_by_server(address) - before == loader.tally["deadlocks"] + fell
    assert money_moved(address, ACCOUNTS) == 0


@pytest.mark.parametrize("order", Order)
def test_a_transfer_moves_one_unit_and_the_sum_stays(address: PostgresAddress, order: Order) -> None:
    loader = Loader(0, FromTwoToOne(1))
    with Transfers(address, order, ACCOUNTS).teller(loader) as op:
        for number in range(3):
            op(number)
    with address.connect(autocommit=True) as connection:
        balances = [balance - transfers.START for (balance,) in connection.execute("select balance from ledger order by id")]
    assert balances == [3, -3, 0, 0]
    assert money_moved(address, ACCOUNTS) == 0
    assert loader.tally["retries"] == 0


def test_money_that_appears_or_vanishes_is_seen(address: PostgresAddress) -> None:
    with address.connect(autocommit=True) as connection:
        for change, expected in ((5, 5), (-12, 7)):
            connection.execute("update ledger set balance = balance + %s where id = 3", [change])
            assert money_moved(address, ACCOUNTS) == expected


def test_a_transfer_that_never_gets_its_locks_is_handed_to_the_caller(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MOST_TRIES", 2)
    loader = Loader(0, FromTwoToOne(1))
    with address.connect() as other, Transfers(address, Order.TIMEOUT, ACCOUNTS).teller(loader) as op:
        other.execute("update ledger set balance = balance where id = 1")
        with pytest.raises(Retry, match="after 2 tries"):
            op(0)
    assert (loader.tally["retries"], loader.tally["deadlocks"]) == (2, 0)
    assert money_moved(address, ACCOUNTS) == 0
