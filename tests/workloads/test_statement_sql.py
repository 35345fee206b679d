"""The statements mean on SQLite what they mean in memory: the SQL is run, never compared as text."""

import sqlite3
from collections.abc import Iterator

import pytest

from mastery.lab.history.transcript import Rows
from mastery.lab.statements import (
    Between,
    Increment,
    Insert,
    Read,
    ReadWhere,
    Row,
    Statement,
    Write,
    WriteId,
    trace_from_text,
    trace_to_text,
)
from mastery.workloads.memory_store import Isolation, MemoryStore
from mastery.workloads.statement_sql import create_table, refill, to_sql

ROWS = (Row("x", 10), Row("y", 20))


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(create_table("t"))
    connection.executescript(refill("t", ROWS))
    yield connection
    connection.close()


def run(database: sqlite3.Connection, statement: Statement, write: WriteId) -> tuple[Row, ...]:
    rows = database.execute(to_sql(statement, table="t", write=write)).fetchall()
    return tuple(Row(key, value, trace_from_text(trace)) for key, value, trace in rows)


def test_a_session_of_every_statement_returns_the_same_on_sqlite_and_in_memory(database: sqlite3.Connection) -> None:
    session = MemoryStore(Isolation.NONE).set(ROWS, 1)[0]
    statements: list[Statement] = [
        Read("x"), Read("nothing"), Write("x", 35), Write("nothing", 5), Increment("x", 3), Increment("nothing", 3),
        Insert("z's", 40), Read("z's"), ReadWhere(Between(30, 40)), ReadWhere(Between(41, 50)), Increment("z's", -15), Read("y"),
    ]  # fmt: skip
    for step, statement in enumerate(statements):
        session.submit(statement, write=WriteId(0, step), begin=step == 0)
        in_memory = session.reply()
        assert isinstance(in_memory, Rows)
        assert run(database, statement, WriteId(0, step)) == in_memory.rows, statement
        if isinstance(statement, Write) and in_memory.rows:
            assert in_memory.rows == (Row("x", 35, (WriteId(0, 2),)),)


def test_refilling_leaves_exactly_the_rows_of_the_case(database: sqlite3.Connection) -> None:
    run(database, Insert("w", 1), WriteId(0, 0))
    database.executescript(refill("t", (Row("x", 1, (WriteId(2, 3),)),)))
    assert database.execute("select * from t").fetchall() == [("x", 1, "2.3 ")]


def test_a_trace_survives_its_text() -> None:
    trace = (WriteId(0, 1), WriteId(12, 0))
    assert trace_to_text(trace) == "0.1 12.0 "
    assert trace_from_text(trace_to_text(trace)) == trace
    assert trace_from_text("") == ()
