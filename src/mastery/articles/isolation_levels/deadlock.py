"""What a deadlock costs, and what keeps it away: lock order, a time-out, or one lock for all."""

from collections.abc import Generator
from typing import Any

from mastery.components.postgres import PostgreSQL
from mastery.components.postgres_session import PostgresAddress
from mastery.lab import Arm, Claim, Closed, Factor, Metric, PerWorker, Result, experiment, ratio, value, worst
from mastery.workloads.transfers import Order, Transfers, deadlocks_seen_by_server, make_ledger, money_moved


@experiment(
    id="deadlock",
    question="Two transfers lock two accounts in opposite order: what does it cost, and what keeps it away?",
    factors=[
        Factor(
            "locks",
            [order.value for order in Order],
            baseline="sorted",
            meaning="in the order of the transfer, lowest account first, giving up after 20 ms, or one lock for everybody",
        ),
        Factor("accounts", [4, 100], baseline=4, quick=[4], meaning="accounts to choose from: few are fought over"),
        Factor("clients", [8], baseline=8, meaning="connections that transfer at the same time"),
    ],
    metrics=[
        Metric("throughput", "op/s", better="higher", primary=True, meaning="transfers committed a second, retries included"),
        Metric("p50", "s", better="lower"),
        Metric("p99", "s", better="lower", meaning="from the first try to the commit"),
        Metric("deadlocks", "1/op", better="lower", role="cost", meaning="deadlocks that the server resolved, per transfer"),
        Metric("retries", "1/op", better="lower", role="cost", meaning="tries beyond the first"),
        Metric("made_up", "unit", better="lower", role="guardrail", meaning="money that appeared or vanished"),
    ],
    load=lambda arm: Closed(processes=arm.clients),
    resources={"postgres": PostgreSQL(minimum=14, settings={"deadlock_timeout": "1s"})},
    overhead_s=0.4,
    timeout_s=120,
    writes="a PostgreSQL of our own, with a hundred small rows",
    claims=[
        Claim(
            "order-ends-deadlocks",
            value("deadlocks", every_level="accounts") <= 0,
            text="Locking the lower account first ends deadlocks.",
            because="a cycle of waits needs somebody who waits for a lower one; written 2026-11-22",
        ),
        Claim(
            "deadlock-stops-everybody",
            ratio("throughput", "as it comes", over="sorted") <= 0.5,
            text="With few accounts, locking in the order of the transfer halves the throughput at least.",
            because="the server looks for a deadlock only after deadlock_timeout, one second by default; written 2026-11-22",
        ),
        Claim(
            "money-stays",
            worst("made_up", every_level="locks") <= 0,
            text="However the locks are taken, no money appears or vanishes.",
            because="an aborted transfer is undone whole; written 2026-11-22",
        ),
    ],
)
def deadlock(arm: Arm, postgres: PostgresAddress) -> Generator[Any, Result, None]:
    """Eight clients move money between a few accounts; what the server aborts is tried again."""
    make_ledger(postgres, arm.accounts)
    before = deadlocks_seen_by_server(postgres)
    result = yield PerWorker(Transfers(postgres, Order(arm.locks), arm.accounts).teller)
    counted = deadlocks_seen_by_server(postgres) - before
    result.in_effect("deadlocks as the clients and the server count them", result.tally["deadlocks"], counted)
    result.record(deadlocks=counted / max(1, result.operations), made_up=money_moved(postgres, arm.accounts))
