"""What safety costs under concurrency: the same withdrawals, kept apart in five ways, and what the cheap ones get wrong."""

from collections.abc import Generator
from typing import Any

from mastery.components.pgbench import PgbenchWithdrawals
from mastery.components.postgres import PostgreSQL
from mastery.components.postgres_session import PostgresAddress
from mastery.lab import Arm, Claim, Closed, Factor, Metric, PerWorker, Recorded, Reference, Result, experiment, ratio, value, worst
from mastery.workloads.accounts import Bank, Guard, cycles_in, make_accounts, money_out_of_nothing

LOCKS, SERIALIZABLE, SNAPSHOT = "read committed + for update", "serializable + retry", "repeatable read + retry"


@experiment(
    id="isolation-cost",
    question="What does each way of keeping transactions apart cost, and which of them are safe at all?",
    factors=[
        Factor("guard", [LOCKS, "read committed", SNAPSHOT, SERIALIZABLE, "read committed + versions"], LOCKS,
               meaning="isolation level, and what is added: row locks, version columns, trying again after an abort"),
        Factor("pairs", [2, 1000], 2, quick=[2], meaning="pairs of accounts: few are fought over, many hardly ever"),
        Factor("clients", [8], 8, meaning="connections that withdraw at the same time"),
    ],
    metrics=[
        Metric("throughput", "op/s", better="higher", primary=True, meaning="withdrawals committed a second, retries included"),
        Metric("p50", "s", meaning="from the first try to the commit"),
        Metric("p99", "s"),
        Metric("retries", "1/op", role="cost", meaning="tries beyond the first"),
        Metric("made_up", "unit", role="guardrail", meaning="money that lost updates have made up"),
        Metric("anomalies", "kind", role="guardrail", meaning="kinds of anomaly proved by a recorded history"),
    ],
    load=lambda arm: Closed(processes=arm.clients),
    resources={"postgres": PostgreSQL(minimum=14)},
    overhead_s=1.0,
    timeout_s=120,
    writes="a PostgreSQL of our own, with a few thousand small rows",
    claims=[
        Claim("cheap-is-wrong", worst("made_up", at={"guard": "read committed"}) >= 1,
              text="At read committed, reading a balance and writing it back makes up money.",
              because="the second writer overwrites what it has not read; written 2026-11-22"),
        Claim("snapshot-is-not-serial", worst("anomalies", at={"guard": SNAPSHOT}) >= 1,
              text="Repeatable read loses no update, and yet its histories are not serializable.",
              because="snapshot isolation allows write skew (Berenson and others 1995); written 2026-11-22"),
        Claim("safe-is-safe", worst("anomalies", at={"guard": SERIALIZABLE}, every_level="pairs") <= 0,
              text="No recorded history at serializable has an anomaly.",
              because="SSI aborts one transaction of every dangerous structure; written 2026-11-22"),
        Claim("locks-are-safe", worst("anomalies", every_level="pairs") <= 0,
              text="Nor has one at read committed with the rows locked before they are read.",
              because="two-phase locking of every row that is read; written 2026-11-22"),
        Claim("serializable-pays-by-retries", value("retries", at={"guard": SERIALIZABLE}) >= 0.1,
              text="Serializable pays in aborts: one withdrawal in ten or more is tried again when few rows are fought over.",
              because="eight clients over two pairs collide most of the time; written 2026-11-22"),
        Claim("equal-safety", ratio("throughput", SERIALIZABLE, over=LOCKS) <= 1,
              text="At equal safety, row locks are at least as fast as serializable where few rows are fought over.",
              because="a lock waits its turn, an abort throws work away; written 2026-11-22"),
    ],
    # Our clients are in Python and share two cores with the server; pgbench's are in C. Within 3, they do the same thing.
    references=[Reference("pgbench", PgbenchWithdrawals(make_accounts, lock=" for update"), metric="throughput", within=3.0)],
)  # fmt: skip
def isolation_cost(arm: Arm, postgres: PostgresAddress) -> Generator[Any, Result, None]:
    """Eight clients withdraw from accounts; then the same guard is held to a recorded list-append workload."""
    make_accounts(postgres, arm.pairs)
    bank = Bank(postgres, Guard(arm.guard), arm.pairs)
    result = yield PerWorker(bank.teller)
    result.in_effect(f"connections at {bank.guard.level}", result.tally[f"at {bank.guard.level}"], arm.clients)
    result.record(made_up=money_out_of_nothing(postgres, withdrawn=result.tally["withdrawn"]))
    recorded = yield Recorded(PerWorker(bank.recorder), at_most_s=0.15)
    recorded.record(**cycles_in(recorded.history, postgres))
    recorded.note(transactions=len(recorded.history))
