"""The statements of the lab as SQL that PostgreSQL and SQLite both understand.

The text is put together from statements of our own cases: keys are quoted, everything else is a number.
"""

# ruff: noqa: S608  # nothing here comes from outside, and a session sends one message without parameters

from mastery.lab.statements import Abort, Commit, Increment, Insert, Read, ReadWhere, Row, Statement, Write, WriteId, trace_to_text

COLUMNS = "key, value, trace"


def create_table(table: str) -> str:
    """One table holds the rows of every case; the trace is text to which each write appends its id."""
    return f"create table {table} (key text primary key, value integer not null, trace text not null)"


def refill(table: str, rows: tuple[Row, ...]) -> str:
    """One transaction, in one message, after which the table holds exactly these rows."""
    values = ", ".join(f"({_literal(row.key)}, {row.value:d}, '{trace_to_text(row.trace)}')" for row in rows)
    return f"begin; delete from {table}; insert into {table} ({COLUMNS}) values {values}; commit"


def to_sql(statement: Statement, *, table: str, write: WriteId) -> str:
    """One statement; a changing one appends its id to the trace in the same breath and returns the row that it made."""
    mark = trace_to_text((write,))
    match statement:
        case Read(key):
            text = f"select {COLUMNS} from {table} where key = {_literal(key)}"
        case ReadWhere(where):
            text = f"select {COLUMNS} from {table} where value between {where.low:d} and {where.high:d} order by key"
        case Write(key, value):
            text = _update(table, key, f"value = {value:d}", mark)
        case Increment(key, by):
            text = _update(table, key, f"value = value + {by:d}", mark)
        case Insert(key, value):
            text = f"insert into {table} ({COLUMNS}) values ({_literal(key)}, {value:d}, '{mark}') returning {COLUMNS}"
        case Commit():
            text = "commit"
        case Abort():
            text = "rollback"
    return text


def _update(table: str, key: str, change: str, mark: str) -> str:
    return f"update {table} set {change}, trace = trace || '{mark}' where key = {_literal(key)} returning {COLUMNS}"


def _literal(key: str) -> str:
    doubled = key.replace("'", "''")
    return f"'{doubled}'"
