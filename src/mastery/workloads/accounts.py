"""Accounts in pairs, and a withdrawal that reads both before it writes one: the shape of every check-then-act.

A pair may not fall below zero together, although each of its accounts may. A withdrawal that misses another's write
loses an update (money is made up); two that write different accounts of one pair after both have checked skew it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any

from mastery.components.postgres_session import PostgresAddress
from mastery.lab.history.list_append import Append, ReadList, check_list_append, transactions_of
from mastery.lab.history.transactions import Judgement
from mastery.lab.operation import HistoryEntry, Loader, Op, Retry

if TYPE_CHECKING:
    from psycopg import Connection

START = 1_000
LISTS = 3
# A transaction that the server aborted is tried again so often; then the caller gets Retry.
MOST_TRIES = 100


class Guard(StrEnum):
    """How concurrent withdrawals are kept apart."""

    NONE = "read committed"
    SNAPSHOT = "repeatable read + retry"
    SERIALIZABLE = "serializable + retry"
    FOR_UPDATE = "read committed + for update"
    VERSIONS = "read committed + versions"

    @property
    def level(self) -> str:
        """The isolation level of its transactions."""
        return self.value.partition(" +")[0]


def make_accounts(address: PostgresAddress, pairs: int) -> None:
    """Two accounts a pair, and a few lists for the recorded workload."""
    with address.connect(autocommit=True) as connection:
        connection.execute("create table accounts (id int primary key, pair int, balance int not null, version int default 0)")
        connection.execute("insert into accounts select n, n / 2, %s from generate_series(0, %s) n", [START, 2 * pairs - 1])
        connection.execute("create table lists (key text primary key, items int[] not null, version int not null default 0)")
        connection.execute("insert into lists select 'list' || n, '{}' from generate_series(1, %s) n", [LISTS])
        connection.execute("create index on accounts (pair)")
        connection.execute("analyze accounts")


@dataclass(frozen=True, slots=True)
class Bank:
    """Withdrawals at one guard; hands each loader its own connection."""

    address: PostgresAddress
    guard: Guard
    pairs: int

    @contextmanager
    def teller(self, loader: Loader) -> Iterator[Op]:
        """One connection that withdraws one unit at a time, and tries again what the server aborted."""
        with self._session(loader) as connection:

            def withdraw(_: int) -> None:
                account = loader.rng.randrange(2 * self.pairs)
                _until_committed(connection, loader, lambda: self._withdraw(connection, account, loader))

            yield withdraw

    @contextmanager
    def recorder(self, loader: Loader) -> Iterator[Op]:
        """One connection whose transactions read one list and append to another, under the same guard."""
        with self._session(loader) as connection:

            def read_and_append(i: int) -> object:
                value = loader.index * 1_000_000 + i + 1
                read, write = _two_lists(loader.rng)
                return _until_committed(connection, loader, lambda: self._append(connection, read, write, value))

            yield read_and_append

    @contextmanager
    def _session(self, loader: Loader) -> "Iterator[Connection[Any]]":
        from psycopg import IsolationLevel

        with self.address.connect() as connection:
            connection.isolation_level = IsolationLevel[self.guard.level.upper().replace(" ", "_")]
            # Asked inside a transaction of this very connection: a pooler may have dropped the setting.
            row = connection.execute("show transaction_isolation").fetchone()
            connection.rollback()
            loader.tally[f"at {row[0] if row else 'no level'}"] += 1
            yield connection

    def _withdraw(self, connection: "Connection[Any]", account: int, loader: Loader) -> None:
        lock = " for update" if self.guard is Guard.FOR_UPDATE else ""
        query = f"select id, balance, version from accounts where pair = %s order by id{lock}"  # noqa: S608  (no input in it)
        rows = connection.execute(query, [account // 2]).fetchall()
        balances = {number: (balance, version) for number, balance, version in rows}
        if sum(balance for balance, _ in balances.values()) < 1:
            return
        if self.guard is Guard.VERSIONS:
            _touch(connection, "accounts", "id", {number: seen for number, (_, seen) in balances.items()})
        connection.execute("update accounts set balance = %s where id = %s", [balances[account][0] - 1, account])
        loader.tally["withdrawn"] += 1

    def _append(self, connection: "Connection[Any]", read: str, write: str, value: int) -> tuple[Append | ReadList, ...]:
        lock = " for update" if self.guard is Guard.FOR_UPDATE else ""
        query = f"select key, items, version from lists where key in (%s, %s) order by key{lock}"  # noqa: S608  (no input in it)
        rows = {key: (items, version) for key, items, version in connection.execute(query, [read, write]).fetchall()}
        items = rows[write][0]
        if self.guard is Guard.VERSIONS:
            _touch(connection, "lists", "key", {key: seen for key, (_, seen) in rows.items()})
        connection.execute("update lists set items = %s where key = %s", [[*items, value], write])
        return (ReadList(read, tuple(rows[read][0])), ReadList(write, tuple(items)), Append(write, value))


def _touch(connection: "Connection[Any]", table: str, name: str, versions: Mapping[Any, int]) -> None:
    """Moves the versions of all rows that were read, if they still stand as read.

    The rows are locked in their own order: two that validate the same rows must wait for each other, not deadlock.
    """
    kind = "int" if name == "id" else "text"
    changed = connection.execute(
        f"with standing as (select {name}, version from {table} where {name} = any(%s::{kind}[]) order by {name} for update)"  # noqa: S608
        f" update {table} set version = {table}.version + 1 from standing, unnest(%s::{kind}[], %s::int[]) as read({name}, version)"
        f" where {table}.{name} = standing.{name} and read.{name} = standing.{name} and read.version = standing.version",
        [list(versions), list(versions), list(versions.values())],
    ).rowcount
    if changed != len(versions):
        raise _Overtaken


class _Overtaken(Exception):
    """A version has moved since it was read: somebody else was faster."""


def _two_lists(rng: Random) -> tuple[str, str]:
    read, write = rng.sample(range(1, LISTS + 1), 2)
    return f"list{read}", f"list{write}"


def _until_committed(connection: "Connection[Any]", loader: Loader, attempt: Any) -> Any:
    """Runs the transaction until it commits; the whole of it counts as one operation, its repetitions as retries."""
    from psycopg import errors

    for _ in range(MOST_TRIES):
        withdrawn = loader.tally["withdrawn"]
        try:
            done = attempt()
            connection.commit()
        except (errors.SerializationFailure, errors.DeadlockDetected, _Overtaken):
            connection.rollback()
            loader.tally["withdrawn"] = withdrawn
            loader.tally["retries"] += 1
        else:
            return done
    raise Retry(f"not committed after {MOST_TRIES} tries")


def money_out_of_nothing(address: PostgresAddress, *, withdrawn: int) -> int:
    """By how much the accounts hold more than they should: updates that were lost."""
    with address.connect(autocommit=True) as connection:
        row = connection.execute("select count(*) * %s - sum(balance) from accounts", [START]).fetchone()
    assert row is not None
    return abs(withdrawn - int(row[0]))


def cycles_in(history: tuple[HistoryEntry, ...], address: PostgresAddress) -> dict[str, float]:
    """How many kinds of anomaly the recorded lists prove, as a metric; no metric when nothing can be said of them."""
    with address.connect(autocommit=True) as connection:
        final = {key: tuple(items) for key, items in connection.execute("select key, items from lists").fetchall()}
    report = check_list_append(transactions_of(history), final=final)
    # Without a single transaction a clean list proves nothing about the guard.
    return {} if not history or report.judgement is Judgement.UNKNOWN else {"anomalies": float(len(report.anomalies))}
