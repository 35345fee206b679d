"""Transfers between two accounts that lock both: in the order they come, in one order, with a time-out, by advisory lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mastery.components.postgres_session import PostgresAddress
from mastery.lab.operation import Loader, Op, Retry

MOST_TRIES = 100
START = 1_000_000


class Order(StrEnum):
    """How a transfer takes its two locks."""

    AS_IT_COMES = "as it comes"
    SORTED = "sorted"
    TIMEOUT = "as it comes + lock_timeout"
    ADVISORY = "one advisory lock"


def make_ledger(address: PostgresAddress, accounts: int) -> None:
    """As many accounts as there are to fight over."""
    with address.connect(autocommit=True) as connection:
        connection.execute("create table ledger (id int primary key, balance bigint not null)")
        connection.execute("insert into ledger select n, %s from generate_series(1, %s) n", [START, accounts])


@dataclass(frozen=True, slots=True)
class Transfers:
    """One way of locking; hands each loader its own connection."""

    address: PostgresAddress
    order: Order
    accounts: int

    @contextmanager
    def teller(self, loader: Loader) -> Iterator[Op]:
        """Moves one unit between two accounts drawn at random, until it commits."""
        with self.address.connect() as connection:
            if self.order is Order.TIMEOUT:
                connection.execute("set lock_timeout = '20ms'")
                connection.commit()

            def transfer(_: int) -> None:
                giver, taker = loader.rng.sample(range(1, self.accounts + 1), 2)
                self._until_committed(connection, loader, giver, taker)

            yield transfer
            # What a session counted reaches the others when its process has ended, which is after the client has gone.
            if connection.info.server_version >= 150_000:
                connection.execute("select pg_stat_force_next_flush()")
                connection.commit()

    def _until_committed(self, connection: Any, loader: Loader, giver: int, taker: int) -> None:
        from psycopg import errors

        for _ in range(MOST_TRIES):
            try:
                self._move(connection, giver, taker)
                connection.commit()
            # A lock_timeout that fires just as the lock is granted cancels the statement "due to user request".
            except (errors.DeadlockDetected, errors.LockNotAvailable, errors.QueryCanceled) as reason:
                connection.rollback()
                loader.tally["retries"] += 1
                loader.tally["deadlocks"] += isinstance(reason, errors.DeadlockDetected)
            else:
                return
        raise Retry(f"not committed after {MOST_TRIES} tries")

    def _move(self, connection: Any, giver: int, taker: int) -> None:
        moves = [(giver, -1), (taker, 1)]
        if self.order is Order.SORTED:
            moves.sort()
        if self.order is Order.ADVISORY:
            connection.execute("select pg_advisory_xact_lock(4711)")
        for account, amount in moves:
            connection.execute("update ledger set balance = balance + %s where id = %s", [amount, account])


def deadlocks_seen_by_server(address: PostgresAddress) -> int:
    """What the server counted in this database; a teller that was left has told its own."""
    with address.connect(autocommit=True) as connection:
        row = connection.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
    return int(row[0]) if row else 0


def money_moved(address: PostgresAddress, accounts: int) -> int:
    """By how much the sum of all accounts has changed; a transfer changes it by nothing."""
    with address.connect(autocommit=True) as connection:
        row = connection.execute("select sum(balance) from ledger").fetchone()
    assert row is not None
    return abs(int(row[0]) - START * accounts)
