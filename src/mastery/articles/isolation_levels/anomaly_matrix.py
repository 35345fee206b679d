"""Which anomalies each isolation level of a real PostgreSQL lets through, found by trying the orders of small transactions."""

from collections.abc import Generator
from typing import Any

from mastery.components.postgres import PostgreSQL
from mastery.components.postgres_session import PostgresAddress
from mastery.lab import Arm, Cited, Factor, Metric, Once, Result, experiment
from mastery.workloads.isolation_matrix import NAMES, level_in_effect, truth_table, try_on_postgres

# Adya's phenomena by level, as PostgreSQL documents its levels and Hermitage's suite found them.
LETS_THROUGH = {
    "read committed": ("PMP", "P4", "G-single", "G2-item", "G2"),
    "repeatable read": ("G2-item", "G2"),
    "serializable": (),
}


@experiment(
    id="anomaly-matrix",
    question="Which anomalies does each isolation level let through?",
    factors=[
        Factor("level", list(LETS_THROUGH), baseline="read committed", meaning="begin isolation level ..."),
        Factor("case", list(NAMES), baseline="P4", meaning="small transactions in which the anomaly can show"),
        Factor(
            "orders",
            [2000],
            baseline=2000,
            quick=[120],
            meaning="all orders of a case where it has no more than these, else a sample drawn from the seed",
        ),
    ],
    metrics=[
        Metric("anomalies", "order", better="lower", role="guardrail", primary=True, meaning="orders that exhibit the anomaly"),
        Metric("unknown", "order", better="lower", role="guardrail", meaning="orders whose history could not be judged"),
        Metric("aborted", "order", better="lower", role="cost", meaning="orders in which the server aborted a transaction"),
        Metric("tried", "order", better="higher", role="cost", meaning="orders that were tried"),
    ],
    resources={"postgres": PostgreSQL(minimum=14)},
    exact=True,
    overhead_s=2.0,
    timeout_s=600,
    writes="one small table, in a schema of ours",
    cited=[
        Cited(
            "mariadb-repeatable-read",
            "REPEATABLE READ, the default, refuses a write to a row that changed after the snapshot (error 1020), "
            "so no update is lost; write skew (G2-item, G2) is still let through.",
            source="MariaDB, SET TRANSACTION and innodb_snapshot_isolation (on by default since 11.6.2)",
            url="https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/set-commands/set-transaction",
            version="MariaDB 11.6.2 and later",
        ),
        Cited(
            "mariadb-before-snapshot-isolation",
            "REPEATABLE READ without innodb_snapshot_isolation, as in MySQL: lets P4, G2-item and G2 through, and PMP and G-single "
            "as soon as the transaction writes.",
            source="Hermitage, table of results for MySQL with InnoDB",
            url="https://github.com/ept/hermitage",
            version="MariaDB before 11.6.2, MySQL InnoDB",
        ),
        Cited(
            "sqlite-serializable",
            "All transactions are serializable, except on connections that share a cache and turn read_uncommitted on: one writes "
            "at a time, and a reader in WAL mode keeps its snapshot.",
            source="SQLite, Isolation In SQLite",
            url="https://www.sqlite.org/isolation.html",
            version="SQLite 3",
        ),
    ],
    claims=truth_table(LETS_THROUGH, source="PostgreSQL manual 13.2, and Hermitage; written 2026-11-22"),
)
def anomaly_matrix(arm: Arm, postgres: PostgresAddress) -> Generator[Any, Result, None]:
    """Plays the case's sessions in every order at the level; a graph of what they returned says what happened."""
    result = yield Once(try_on_postgres(arm.case, arm.level, postgres, at_most=arm.orders), seeded=True)
    result.in_effect("transaction_isolation", level_in_effect(postgres, arm.level), arm.level)
    cell = result.value
    result.record(**cell.metrics())
    result.note(orders_tried=cell.tried, orders_total=cell.total, example=cell.example, others=dict(cell.others))
