"""What a run found: estimates, effects, guardrails, claims, references, frontier and advice, put into its document."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from mastery.lab.clock_share import why_too_fine
from mastery.lab.conduct import PERCENTILES
from mastery.lab.document import (
    SCHEMA,
    CitedRecord,
    EffectRecord,
    Estimate,
    FrontierRecord,
    GuardrailRecord,
    ReferenceRecord,
    RuleRecord,
    RunDocument,
    sealed,
)
from mastery.lab.evidence import Evidence
from mastery.lab.experiment import Better, Metric, Role
from mastery.lab.frontier import Objective, Summary, frontier, standings
from mastery.lab.guardrail import guardrail
from mastery.lab.histogram import merge_all
from mastery.lab.judgement import Effect, Judgement, judge, withhold
from mastery.lab.percentiles import pooled_percentile, resampled_effect, samples_for
from mastery.lab.plan import Plan, arm_records
from mastery.lab.planning import RISK, Mode
from mastery.lab.remarks import remarks
from mastery.lab.signed_rank import SignedRank
from mastery.lab.standing import standing
from mastery.lab.statistics import estimate, predict
from mastery.lab.verdict import voids_apart

# Resampling has a stream of its own of the run's seed, so that judging again gives the same digits.
JUDGING_STREAM = 0x6A75_6467


@dataclass(frozen=True, slots=True)
class Closing:
    """How a run came to its end, and what had happened to it as a whole."""

    rule: RuleRecord
    stopped: Literal["planned", "budget", "interrupted"]
    finished: str
    events: tuple[dict[str, Any], ...] = ()


def document_of(evidence: Evidence, closing: Closing) -> RunDocument:
    """Judges the evidence and closes the document with its content hash."""
    plan, experiment, header = evidence.plan, evidence.plan.experiment, evidence.plan.header
    references = [*(_reference(evidence, each, arm) for each, arm in plan.references), *_absent(plan)]
    effects, noise = _effects(evidence, doubted={each.metric for each in references if each.agrees is False})
    estimates = _estimates(evidence)
    document = RunDocument(
        schema=SCHEMA,
        id=header.run,
        hash="",
        experiment=experiment.id,
        article=header.article,
        question=experiment.question,
        declaration=declaration_of(plan),
        rule=closing.rule,
        mode=plan.mode.value,
        seed=plan.seed,
        target=header.target,
        started=header.started,
        finished=closing.finished,
        package=header.package,
        machine=header.machine,
        noise={**header.noise, **noise},
        components=list(header.components),
        factors=[factor.record() for factor in experiment.factors],
        metrics=[metric.record(experiment.primary) for metric in experiment.metrics],
        arms=arm_records(plan),
        prediction=header.prediction,
        trials=evidence.trials,
        estimates=estimates,
        guardrails=_guardrails(evidence),
        effects=effects,
        claims=[standing(claim, evidence, estimates) for claim in experiment.claims],
        cited=[
            CitedRecord(id=each.id, text=each.text, source=each.source, url=each.url, version=each.version)
            for each in experiment.cited
        ],
        references=references,
        frontier=_frontier(evidence, estimates),
        advice=[*header.advice, *evidence.advice],
        orders_tried=_orders_tried(evidence),
        histograms=_histograms(evidence),
        events=list(closing.events),
        stopped=closing.stopped,
    )
    return sealed(msgspec.structs.replace(document, advice=[*document.advice, *remarks(document)]))


def declaration_of(plan: Plan) -> dict[str, Any]:
    """What was declared, in plain values; with `source` it says which text of the experiment was run."""
    experiment = plan.experiment
    return {
        "source": experiment.source,
        "code": experiment.code,
        "smallest_effect": experiment.smallest_effect,
        "exact": experiment.exact,
        "writes": experiment.writes,
        "claims": {claim.id: claim.comparison.text() for claim in experiment.claims},
        "loads": {str(arm.index): repr(experiment.load_of(arm)) for arm in plan.arms},
        "resources": sorted(experiment.resources),
        "documented": [
            {"metric": each.metric, "source": each.source, "levels": dict(each.levels)}
            | ({} if each.bound is None else {"bound": each.bound})
            for each in experiment.documented
        ],
    }


def _random(plan: Plan, *stream: int) -> np.random.Generator:
    return np.random.default_rng([plan.seed, JUDGING_STREAM, *stream])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _estimates(evidence: Evidence) -> list[Estimate]:
    found: list[Estimate] = []
    for index, metric in enumerate(evidence.plan.experiment.metrics):
        if metric.role == Role.GUARDRAIL:
            continue
        for arm in evidence.plan.arms:
            if metric.name in PERCENTILES:
                found.append(_percentile(evidence, arm.index, metric.name, stream=index))
            else:
                found.extend(_central(evidence, arm.index, metric.name))
    return found


def _central(evidence: Evidence, arm: int, metric: str) -> list[Estimate]:
    values = evidence.table(metric)[:, evidence.column(arm)]
    central = estimate(values)
    if central is None:
        return []
    following = predict(values)
    return [
        Estimate(
            arm=arm,
            metric=metric,
            value=central.value,
            low=central.interval.low if central.interval else None,
            high=central.interval.high if central.interval else None,
            trials=central.trials,
            next_low=_finite(following.interval.low) if following else None,
            next_high=_finite(following.interval.high) if following else None,
        )
    ]


def _percentile(evidence: Evidence, arm: int, metric: str, *, stream: int) -> Estimate:
    """The percentile of the pooled samples; the next run's is predicted from the trials' own where they have one."""
    quantile = PERCENTILES[metric]
    histograms = evidence.histograms(arm)
    pooled = pooled_percentile(histograms, quantile, random=_random(evidence.plan, stream, arm))
    samples = sum(each.count for each in histograms)
    if pooled is None:
        why = f"{samples} samples; {metric} is shown from {samples_for(quantile)}"
        return Estimate(arm=arm, metric=metric, value=0.0, trials=0, withheld=why)
    if too_fine := why_too_fine(evidence.clock_share(arm)):
        return Estimate(arm=arm, metric=metric, value=0.0, trials=0, withheld=too_fine)
    following = predict(evidence.table(metric)[:, evidence.column(arm)])
    return Estimate(
        arm=arm,
        metric=metric,
        value=pooled.value_ns / 1e9,
        low=pooled.interval.low / 1e9 if pooled.interval else None,
        high=pooled.interval.high / 1e9 if pooled.interval else None,
        trials=pooled.blocks,
        next_low=_finite(following.interval.low) if following else None,
        next_high=_finite(following.interval.high) if following else None,
    )


def _guardrails(evidence: Evidence) -> list[GuardrailRecord]:
    found: list[GuardrailRecord] = []
    for metric in evidence.plan.experiment.metrics:
        for arm in evidence.plan.arms if metric.role == Role.GUARDRAIL else ():
            values = evidence.all_values(arm.index, metric.name)
            counted = guardrail(values)
            if counted is not None:
                found.append(
                    GuardrailRecord(
                        arm=arm.index,
                        metric=metric.name,
                        trials=counted.trials,
                        trials_with_any=counted.trials_with_any,
                        maximum=counted.maximum,
                        minimum=min(values),
                        total=counted.total,
                        share_at_most=counted.share_bound,
                    )
                )
    return found


def _effects(evidence: Evidence, *, doubted: set[str]) -> tuple[list[EffectRecord], dict[str, Any]]:
    """Effects of every response and cost; verdicts for the primary metric alone. Also the noise floor and A/A figures."""
    plan, experiment = evidence.plan, evidence.plan.experiment
    if experiment.exact:
        return [], {}
    effects: list[EffectRecord] = []
    noise: dict[str, Any] = {}
    twin = len(evidence.columns) - 1 if plan.has_placebo else None
    for stream, metric in enumerate(experiment.metrics):
        if metric.role == Role.GUARDRAIL or not evidence.complete:
            continue
        is_primary = metric is experiment.primary
        judgement = judge(
            evidence.log_values(metric.name),
            baseline=0,
            smallest_effect=experiment.smallest_effect,
            better=Better(metric.better),
            mode=plan.mode if is_primary else Mode.QUICK,
            twin=twin,
        )
        void, attempts = zip(*evidence.void_shares().values(), strict=True)
        # One void trial among seven is no sign that an arm shows only its survivors; a second one is.
        if is_primary and max(void) > 1 and voids_apart(void, attempts) is not None:
            judgement = withhold(judgement)
        if is_primary:
            noise = _noise(judgement, evidence.complete_blocks)
        for effect in judgement.effects:
            if effect.arm != twin:
                effects.append(_effect_record(evidence, metric, effect, is_primary=is_primary, doubted=doubted, stream=stream))
    return effects, noise


def _noise(judgement: Judgement, blocks: int) -> dict[str, Any]:
    """How far two equal arms lie apart by chance here, and what the A/A pair of this run showed."""
    noise: dict[str, Any] = {}
    floor = judgement.floor.ratio_floor(blocks)
    if math.isfinite(floor):
        noise["floor"] = floor
    placebo = judgement.effect_of(judgement.twin) if judgement.twin is not None else None
    if placebo is not None and placebo.ratio is not None:
        noise["a_a_ratio"] = placebo.ratio
        if placebo.plain is not None:
            noise["a_a_low"], noise["a_a_high"] = placebo.plain.low, placebo.plain.high
            noise["a_a_alarm"] = placebo.plain.excludes(1.0)
    return noise


def _effect_record(
    evidence: Evidence, metric: Metric, effect: Effect, *, is_primary: bool, doubted: set[str], stream: int
) -> EffectRecord:
    plan = evidence.plan
    arm = plan.arms[effect.arm].index
    ratio, interval = effect.ratio, effect.interval if is_primary else effect.plain
    why, is_resampled = "", False
    if metric.name in PERCENTILES and (ratio is None or effect.blocks < evidence.complete_blocks):
        # Some trials have too few samples for a percentile of their own: resample the blocks instead of pairing.
        ours, theirs = evidence.histograms(arm), evidence.histograms(plan.baseline)
        resampled = resampled_effect(ours, theirs, PERCENTILES[metric.name], random=_random(plan, stream, arm, 1))
        if resampled is not None:
            ratio, interval, is_resampled = resampled.ratio, resampled.interval, True
            if is_primary:
                why = f"some trials have too few samples for a {metric.name} of their own: the interval is from resampled blocks"
    if metric.name in PERCENTILES:
        why = why_too_fine(max(evidence.clock_share(arm), evidence.clock_share(plan.baseline))) or why
    if is_primary and metric.name in doubted:
        why = "an independent tool measured something else; see the references"
    elif effect.reason.value == "voids apart":
        why = "the arms' shares of void trials lie more than 10 points apart"
    elif ratio is None:
        why = "no block has a figure above zero for both arms"
    return EffectRecord(
        arm=arm,
        metric=metric.name,
        over=plan.baseline,
        ratio=ratio if ratio is not None and math.isfinite(ratio) else 0.0,
        low=_finite(interval.low) if interval else None,
        high=_finite(interval.high) if interval else None,
        blocks=effect.blocks,
        adjusted=is_primary and plan.mode is not Mode.QUICK and not is_resampled,
        verdict=effect.verdict.value if is_primary and not why else None,
        relevant=effect.relevant and is_primary and not why,
        indication=is_primary and plan.mode is Mode.QUICK,
        withheld=why or None,
        blocks_needed=effect.blocks_needed if is_primary else None,
    )


def _reference(evidence: Evidence, reference: Any, arm: int) -> ReferenceRecord:
    """Agreement: the paired ratio's 95 % interval lies inside the tolerance; wholly outside it: disagreement."""
    pairs = evidence.reference_pairs(reference.id, arm, reference.metric)
    record = ReferenceRecord(
        id=reference.id, tool=reference.tool.name, arm=arm, metric=reference.metric, blocks=len(pairs), within=reference.within
    )
    if not pairs:
        return msgspec.structs.replace(record, why="no block has both figures")
    # A figure of zero has no ratio.
    pairs = [(our, their) for our, their in pairs if our > 0 and their > 0]
    if not pairs:
        return msgspec.structs.replace(record, why="no block has figures above zero for both")
    ours, theirs = np.array(pairs).T
    ranks = SignedRank.of(np.log(ours) - np.log(theirs))
    interval = ranks.interval(RISK)
    low, high = (math.exp(interval.low), math.exp(interval.high)) if interval else (None, None)
    agrees, why = None, "too few blocks for an interval"
    if low is not None and high is not None:
        inside = low >= 1 / reference.within and high <= reference.within
        outside = high < 1 / reference.within or low > reference.within
        agrees = True if inside else False if outside else None
        why = "" if agrees is not None else "the interval crosses the tolerance: reference inconclusive"
    return msgspec.structs.replace(
        record,
        ours=float(np.median(ours)),
        theirs=float(np.median(theirs)),
        ratio=math.exp(ranks.centre),
        low=low,
        high=high,
        agrees=agrees,
        why=why,
    )


def _absent(plan: Plan) -> list[ReferenceRecord]:
    return [
        ReferenceRecord(
            id=reference.id,
            tool=reference.tool.name,
            arm=plan.baseline,
            metric=reference.metric,
            within=reference.within,
            why=f"not cross-checked: {reason}",
        )
        for reference, reason in plan.absent
    ]


def _frontier(evidence: Evidence, estimates: Sequence[Estimate]) -> FrontierRecord | None:
    """Which arms nothing beats on the primary metric and every guardrail and cost together."""
    experiment = evidence.plan.experiment
    chosen = [experiment.primary, *(m for m in experiment.metrics if m.role != Role.RESPONSE and m is not experiment.primary)]
    if len(chosen) < 2 or not evidence.complete or experiment.exact:
        return None
    objectives = [Objective(metric.better, Summary.WORST if metric.role == Role.GUARDRAIL else Summary.MEDIAN) for metric in chosen]
    arms = len(evidence.plan.arms)
    tables = [evidence.table(metric.name)[:, :arms] for metric in chosen]
    places = standings(np.stack(tables, axis=-1), objectives, random=_random(evidence.plan, 0xF0))
    # The frontier of this run is that of the figures it shows: a percentile of the pooled samples is not the median of
    # the trials' own. How often it stays so is asked of whole blocks.
    points = np.full((arms, len(chosen)), math.nan)
    for column, (metric, table) in enumerate(zip(chosen, tables, strict=True)):
        for row, arm in enumerate(evidence.plan.arms):
            shown = next((each for each in estimates if (each.arm, each.metric) == (arm.index, metric.name)), None)
            present = table[:, row][~np.isnan(table[:, row])]
            if shown is not None:
                points[row, column] = math.nan if shown.withheld else shown.value
            elif present.size:
                points[row, column] = present.max() if metric.better == Better.LOWER else present.min()
    on_it = frontier(points, [metric.better for metric in chosen])
    index = [arm.index for arm in evidence.plan.arms]
    return FrontierRecord(
        metrics=[metric.name for metric in chosen],
        arms=[index[row] for row in range(arms) if on_it[row]],
        share={str(index[place.arm]): place.share for place in places},
    )


def _orders_tried(evidence: Evidence) -> dict[str, list[int | float]]:
    """Tried and total orders by arm label, as the trials noted them: absence of an anomaly is no proof."""
    labels = {arm.index: arm.label() for arm in evidence.plan.arms}
    return {
        labels[record.arm]: [record.notes["orders_tried"], record.notes["orders_total"]]
        for record in evidence.trials
        if record.status == "ok" and {type(record.notes.get(name)) for name in ("orders_tried", "orders_total")} <= {int, float}
    }


def _histograms(evidence: Evidence) -> dict[str, dict[str, Any]]:
    pooled = {arm.index: merge_all(evidence.histograms(arm.index)) for arm in evidence.plan.arms}
    return {str(index): histogram.to_sparse() for index, histogram in pooled.items() if histogram.count}
