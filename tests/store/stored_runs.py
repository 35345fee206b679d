"""Small whole runs for the tests of the store and of the reports: built by constructing the types, then sealed."""

from typing import Any

import msgspec

from mastery.lab.document import (
    ArmRecord,
    ClaimRecord,
    EffectRecord,
    Estimate,
    FactorRecord,
    FrontierRecord,
    GuardrailRecord,
    MetricRecord,
    PredictionRecord,
    RuleRecord,
    RunDocument,
    TrialRecord,
    sealed,
)

MACHINE = {"fingerprint": "0123456789abcdef", "machine_class": "2-core virtual machine, Linux 6.18"}
P50_S = (0.004, 0.001, 0.0001)


def a_run(id: str = "run-aaaa", *, started: str = "2026-11-22T10:00:00Z", **changes: Any) -> RunDocument:
    """A closed run of `fsync-cost` with three arms (every, group, never) and six blocks."""
    document = RunDocument(
        schema="mastery.run/1",
        id=id,
        hash="",
        experiment="fsync-cost",
        article="file_io_durability",
        question="What does each durability promise cost per commit?",
        declaration={"source": "5" * 64, "smallest_effect": 0.1},
        rule=RuleRecord(blocks=6, reason="minimum"),
        mode="quick",
        seed=7,
        target=None,
        started=started,
        finished=started.replace(":00Z", ":30Z"),
        package="0.1.0",
        machine=MACHINE,
        noise={},
        components=[],
        factors=[FactorRecord(name="sync", levels=["every", "group", "never"], baseline="every")],
        metrics=[
            MetricRecord(name="p50", unit="s", better="lower", role="response", primary=True),
            MetricRecord(name="throughput", unit="op/s", better="higher", role="response"),
            MetricRecord(name="at_risk", unit="record", better="lower", role="guardrail"),
        ],
        arms=[
            ArmRecord(index=0, levels={"sync": "every"}, label="sync=every", baseline=True),
            ArmRecord(index=1, levels={"sync": "group"}, label="sync=group"),
            ArmRecord(index=2, levels={"sync": "never"}, label="sync=never"),
        ],
        prediction=PredictionRecord(kind="skipped"),
        trials=[trial(block, arm) for block in range(6) for arm in range(3)],
        estimates=[estimate(arm, "p50", P50_S[arm]) for arm in range(3)]
        + [estimate(arm, "throughput", 1 / P50_S[arm]) for arm in range(3)],
        guardrails=[
            guardrail(0),
            guardrail(1),
            guardrail(2, trials_with_any=6, maximum=900, minimum=700, total=4800, share_at_most=1.0),
        ],
        effects=[effect(1, 0.25), effect(2, 0.025)],
        claims=[ClaimRecord(id="group-commit-pays", text="Group commit pays.", standing="holds", value=4.0, low=3.8, high=4.2)],
        cited=[],
        references=[],
        frontier=FrontierRecord(metrics=["p50", "at_risk"], arms=[1, 2], share={"0": 0.0, "1": 1.0, "2": 1.0}),
        advice=[],
        orders_tried={},
        histograms={},
        events=[],
        stopped="planned",
    )
    return sealed(msgspec.structs.replace(document, **changes))


def trial(block: int, arm: int, **changes: Any) -> TrialRecord:
    p50_s = P50_S[arm] * (1 + 0.01 * block)
    metrics = {"p50": p50_s, "throughput": 1 / p50_s, "at_risk": 0.0 if arm < 2 else 700.0 + 40 * block}
    return msgspec.structs.replace(TrialRecord(block=block, arm=arm, status="ok", seconds=0.5, metrics=metrics), **changes)


def estimate(arm: int, metric: str, value: float, *, spread: float = 0.1) -> Estimate:
    """An estimate whose interval is half as wide as the prediction interval for the next run."""
    near, far = 1 + spread / 2, 1 + spread
    return Estimate(
        arm=arm, metric=metric, value=value, low=value / near, high=value * near, trials=6,
        next_low=value / far, next_high=value * far,
    )  # fmt: skip


def guardrail(arm: int, **changes: Any) -> GuardrailRecord:
    """No trial of six with any: one trial in three may still have some (one-sided 95 % bound)."""
    clean = GuardrailRecord(
        arm=arm, metric="at_risk", trials=6, trials_with_any=0, maximum=0, minimum=0, total=0, share_at_most=0.39
    )
    return msgspec.structs.replace(clean, **changes)


def effect(arm: int, ratio: float) -> EffectRecord:
    return EffectRecord(
        arm=arm, metric="p50", over=0, ratio=ratio, low=ratio * 0.96, high=ratio * 1.04, blocks=6, verdict="better", relevant=True
    )


def header_of(document: RunDocument) -> dict[str, Any]:
    """What is known of a run before its first trial."""
    known = ("schema", "id", "experiment", "article", "question", "mode", "seed", "started", "machine", "package")
    body = msgspec.to_builtins(document)
    return {name: body[name] for name in known}
