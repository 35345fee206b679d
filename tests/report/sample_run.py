"""A hand-made run document for the tests of reports: shaped like `fsync-cost`, with figures from a seed."""

import math
from random import Random
from statistics import median
from typing import Any

import msgspec

from mastery.lab.document import (
    SCHEMA,
    AdviceRecord,
    ArmRecord,
    CitedRecord,
    ClaimRecord,
    ComponentRecord,
    EffectRecord,
    Estimate,
    FactorRecord,
    FrontierRecord,
    GuardrailRecord,
    MetricRecord,
    PredictionRecord,
    ReferenceRecord,
    RuleRecord,
    RunDocument,
    TrialRecord,
    sealed,
)

LEVELS = ("every", "group", "never")
TYPICAL_S = {"every": 312e-6, "group": 340e-6, "never": 2.2e-6}
RATE = {"every": 3150.0, "group": 24_000.0, "never": 410_000.0}
AT_RISK = {"every": 0, "group": 0, "never": 81_000}
BLOCKS = 12


def trials(seed: int = 7) -> list[TrialRecord]:
    random = Random(seed)
    found = []
    for block in range(BLOCKS):
        for arm, level in enumerate(LEVELS):
            p50 = TYPICAL_S[level] * math.exp(random.gauss(0, 0.06))
            metrics = {
                "p50": p50,
                "p99": p50 * random.uniform(3, 5),
                "throughput": RATE[level] * math.exp(random.gauss(0, 0.05)),
                "at_risk": float(AT_RISK[level] + (random.randrange(900) if AT_RISK[level] else 0)),
            }
            found.append(TrialRecord(block=block, arm=arm, status="ok", seconds=0.4, metrics=metrics, load={"loop": "closed"}))
    found.append(TrialRecord(block=BLOCKS, arm=1, status="void", cause="the worker was killed by signal 9"))
    return found


def estimates(rows: list[TrialRecord]) -> list[Estimate]:
    found = []
    for arm in range(len(LEVELS)):
        for metric in ("p50", "p99", "throughput"):
            values = sorted(row.metrics[metric] for row in rows if row.arm == arm and row.status == "ok")
            found.append(Estimate(arm=arm, metric=metric, value=median(values), low=values[2], high=values[-3], trials=len(values)))
    return found


def effects(figures: list[Estimate]) -> list[EffectRecord]:
    by_arm = {(each.arm, each.metric): each for each in figures}
    found = []
    for metric in ("p50", "p99", "throughput"):
        for arm in (1, 2):
            ratio = by_arm[arm, metric].value / by_arm[0, metric].value
            better = (ratio < 1) if metric != "throughput" else (ratio > 1)
            verdict: Any = ("better" if better else "worse") if metric == "p50" else None
            record = EffectRecord(
                arm=arm,
                metric=metric,
                over=0,
                ratio=ratio,
                low=ratio * 0.96,
                high=ratio * 1.05,
                blocks=BLOCKS,
                verdict=verdict,
                relevant=arm == 2,
                adjusted=metric == "p50",
            )
            found.append(record)
    return found


def guardrails(rows: list[TrialRecord]) -> list[GuardrailRecord]:
    found = []
    for arm in range(len(LEVELS)):
        values = [row.metrics["at_risk"] for row in rows if row.arm == arm and row.status == "ok"]
        having = sum(value > 0 for value in values)
        found.append(
            GuardrailRecord(
                arm=arm,
                metric="at_risk",
                trials=len(values),
                trials_with_any=having,
                maximum=max(values),
                minimum=min(values),
                total=sum(values),
                share_at_most=1.0 if having else 1 - 0.05 ** (1 / len(values)),
            )
        )
    return found


def claims() -> list[ClaimRecord]:
    return [
        ClaimRecord(
            id="group-commit-pays",
            text="Group commit at least triples the throughput of flushing every record.",
            standing="holds",
            because="sixteen writers share a flush; written 2026-11-22",
            value=7.6,
            low=7.3,
            high=8.0,
        ),
        ClaimRecord(
            id="never-is-free",
            text="Never flushing is at least 1,000 times as fast.",
            standing="fails",
            value=142.0,
            low=136.0,
            high=149.0,
        ),
        ClaimRecord(
            id="dsync-equals", text="O_DSYNC costs what fdatasync costs.", standing="not_run", why="its arm was not chosen"
        ),
    ]


def sample_run(**changes: Any) -> RunDocument:
    """The document, sealed; `changes` replace whole fields."""
    rows = trials()
    figures = estimates(rows)
    document = RunDocument(
        schema=SCHEMA,
        id="20261122-101500-fsync-cost-7f3a",
        hash="",
        experiment="fsync-cost",
        article="file_io_durability",
        question="What does each durability promise cost per commit, and what can a power cut take?",
        declaration={"smallest_effect": 0.1, "exact": False},
        rule=RuleRecord(blocks=BLOCKS, reason="precision", wanted=BLOCKS, pilot=4, seconds_per_trial=0.45, budget_s=90.0),
        mode="normal",
        seed=7,
        target=None,
        started="2026-11-22T10:15:00Z",
        finished="2026-11-22T10:16:12Z",
        package="0.1.0",
        machine={"machine_class": "2-core AMD EPYC virtual machine, Linux 6.18", "fingerprint": "c0ffee"},
        noise={"floor": 0.04},
        components=[ComponentRecord(name="disk", how="scratch folder", configuration={"file system": "ext4"})],
        factors=[
            FactorRecord(name="sync", levels=list(LEVELS), baseline="every", meaning="when a record is flushed"),
            FactorRecord(name="call", levels=["fdatasync", "fsync"], baseline="fdatasync"),
            FactorRecord(name="record", levels=[128, 4096], baseline=4096, unit="B"),
        ],
        metrics=[
            MetricRecord(name="p50", unit="s", better="lower", role="response", primary=True),
            MetricRecord(name="p99", unit="s", better="lower", role="response"),
            MetricRecord(name="throughput", unit="op/s", better="higher", role="response"),
            MetricRecord(name="at_risk", unit="record", better="lower", role="guardrail"),
        ],
        arms=[
            ArmRecord(
                index=index,
                levels={"sync": level, "call": "fdatasync", "record": 4096},
                label=f"sync={level} call=fdatasync record=4096",
                baseline=index == 0,
            )
            for index, level in enumerate(LEVELS)
        ],
        prediction=PredictionRecord(kind="skipped"),
        trials=rows,
        estimates=figures,
        effects=effects(figures),
        guardrails=guardrails(rows),
        claims=claims(),
        cited=[
            CitedRecord(
                id="sqlite-full", text="SQLite flushes at every commit.", source="SQLite", url="https://sqlite.org", version="3.50"
            )
        ],
        references=[
            ReferenceRecord(
                id="fio-fdatasync",
                tool="fio 3.33",
                arm=0,
                metric="p50",
                blocks=8,
                ours=312e-6,
                theirs=305e-6,
                ratio=1.02,
                low=0.98,
                high=1.07,
                within=1.3,
                agrees=True,
            )
        ],
        frontier=FrontierRecord(metrics=["p50", "at_risk"], arms=[0, 2], share={"0": 0.93, "1": 0.21, "2": 1.0}),
        advice=[AdviceRecord(code="steal", text="The hypervisor took 3 % of the CPU time.", remedy="Run it on a quieter machine.")],
        orders_tried={},
        histograms={},
        events=[],
        stopped="planned",
    )
    return sealed(msgspec.structs.replace(document, **changes))
