"""What a run writes down before its first trial, so that another process can judge it when it was killed."""

from collections.abc import Generator, Sequence
from typing import Any

import msgspec

from mastery.lab.document import (
    AdviceRecord,
    ArmRecord,
    ComponentRecord,
    FactorRecord,
    MetricRecord,
    PredictionRecord,
    RunDocument,
    TrialRecord,
)
from mastery.lab.experiment import Arm, Experiment, Factor, Level, Metric
from mastery.lab.histogram import Histogram
from mastery.lab.load import Closed
from mastery.lab.plan import Header, Plan, arm_records
from mastery.lab.planning import Mode
from mastery.lab.run import document_so_far


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stood when it began, in plain values."""

    id: str
    experiment: str
    article: str
    mode: str
    started: str
    machine: dict[str, Any]
    # How the user named the experiment (an id, an article, a file), to load it again.
    name: str
    source: str
    code: str
    question: str
    smallest_effect: float
    exact: bool
    factors: list[FactorRecord]
    metrics: list[MetricRecord]
    arms: list[ArmRecord]
    seed: int
    trial_s: float
    budget_s: float
    package: str
    target: str | None
    noise: dict[str, Any]
    components: list[ComponentRecord]
    prediction: PredictionRecord
    advice: list[AdviceRecord]


def begun(plan: Plan, *, name: str) -> dict[str, Any]:
    """The plan in plain JSON values; the store keeps it beside the trials until the run is closed."""
    experiment, header = plan.experiment, plan.header
    record = Begun(
        id=header.run,
        experiment=experiment.id,
        article=header.article,
        mode=plan.mode.value,
        started=header.started,
        machine=header.machine,
        name=name,
        source=experiment.source,
        code=experiment.code,
        question=experiment.question,
        smallest_effect=experiment.smallest_effect,
        exact=experiment.exact,
        factors=[factor.record() for factor in experiment.factors],
        metrics=[metric.record(experiment.primary) for metric in experiment.metrics],
        arms=arm_records(plan),
        seed=plan.seed,
        trial_s=plan.trial_s,
        budget_s=plan.budget_s,
        package=header.package,
        target=header.target,
        noise=header.noise,
        components=list(header.components),
        prediction=header.prediction,
        advice=list(header.advice),
    )
    builtins: dict[str, Any] = msgspec.to_builtins(record)
    return builtins


def close_killed(
    body: dict[str, Any], kept: Sequence[tuple[TrialRecord, Histogram | None]], experiment: Experiment | None, *, finished: str
) -> RunDocument:
    """The document of a killed run. Without its experiment, or when that has changed since, no claim is judged."""
    record = msgspec.convert(body, Begun)
    same = experiment if experiment is not None and experiment.code == record.code else _bare(record)
    ran = [arm for arm in record.arms if arm.skipped is None]
    header = Header(
        run=record.id,
        article=record.article,
        started=record.started,
        package=record.package,
        target=record.target,
        machine=record.machine,
        noise=record.noise,
        components=tuple(record.components),
        prediction=record.prediction,
        advice=tuple(record.advice),
    )
    # Which reference stood beside which arm is told by its trials.
    beside = {trial.reference: trial.arm for trial, _ in kept if trial.reference is not None}
    plan = Plan(
        experiment=same,
        header=header,
        mode=Mode(record.mode),
        seed=record.seed,
        trial_s=record.trial_s,
        budget_s=record.budget_s,
        arms=tuple(Arm(arm.index, arm.levels, arm.baseline) for arm in sorted(ran, key=lambda arm: not arm.baseline)),
        skipped=tuple(arm for arm in record.arms if arm.skipped is not None),
        references=tuple((each, beside[each.id]) for each in same.references if each.id in beside),
        absent=tuple((each, "the run has no trial of it") for each in same.references if each.id not in beside),
    )
    return document_so_far(plan, kept, finished=finished)


def _bare(record: Begun) -> Experiment:
    """The declaration as far as it was written down: enough for estimates and effects."""
    return Experiment(
        id=record.experiment,
        question=record.question,
        factors=tuple(Factor(each.name, _levels(each), each.baseline, each.unit, meaning=each.meaning) for each in record.factors),
        metrics=tuple(Metric(each.name, each.unit, each.better, each.role, each.primary, each.meaning) for each in record.metrics),
        load=Closed(),
        trial=_gone,
        smallest_effect=record.smallest_effect,
        exact=record.exact,
        source=record.source,
        code=record.code,
    )


def _levels(factor: FactorRecord) -> tuple[Level, ...]:
    return tuple(factor.levels)


def _gone() -> Generator[None, None, None]:
    raise AssertionError("a killed run is judged, not run again")
