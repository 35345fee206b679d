"""Which anomalies each isolation level of a real PostgreSQL lets through, found by trying the orders of small transactions."""

from collections.abc import Generator
from typing import Any

from mastery.components.postgres import PostgreSQL
from mastery.components.postgres_session import PostgresAddress
from mastery.lab import Arm, Factor, Metric, Once, Result, experiment
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
    claims=truth_table(LETS_THROUGH, source="PostgreSQL manual 13.2, and Hermitage; written 2026-11-22"),
)
def anomaly_matrix(arm: Arm, postgres: PostgresAddress) -> Generator[Any, Result, None]:
    """Plays the case's sessions in every order at the level; a graph of what they returned says what happened."""
    result = yield Once(try_on_postgres(arm.case, arm.level, postgres, at_most=arm.orders, seed=10))
    result.in_effect("transaction_isolation", level_in_effect(postgres, arm.level), arm.level)
    cell = result.value
    result.record(anomalies=cell.anomalies, unknown=cell.unknown, aborted=cell.aborted, tried=cell.tried)
    result.note(orders_tried=cell.tried, orders_total=cell.total, example=cell.example, others=dict(cell.others))
