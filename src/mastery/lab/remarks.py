"""What a finished run advises its reader: disturbances, doubts and refusals, each with a remedy."""

import math
from statistics import median

from mastery.lab.advice import advise_on_disturbance
from mastery.lab.clock_share import advise_on_clock_share, clock_share
from mastery.lab.disturbance import Disturbance
from mastery.lab.document import AdviceRecord, RunDocument, TrialRecord
from mastery.lab.histogram import Histogram


def remarks(document: RunDocument) -> list[AdviceRecord]:
    """Advice that follows from the trials themselves, in order of weight."""
    ok = [trial for trial in document.trials if trial.status == "ok" and not trial.cold]
    found = [
        _quick(document),
        _interrupted(document),
        *_voids(document),
        *_disturbances(ok),
        _clock_share(document),
        _drifting(ok),
        _outliers(document),
        _unstable(ok),
        _alarm(document),
    ]
    return [each for each in found if each is not None]


def _quick(document: RunDocument) -> AdviceRecord | None:
    if document.mode != "quick" or document.rule.reason == "exact":
        return None
    return AdviceRecord(
        code="indication",
        text="This is a quick run: its verdicts are indications, unadjusted for the number of arms.",
        remedy=f"mastery run {document.experiment}",
    )


def _interrupted(document: RunDocument) -> AdviceRecord | None:
    if document.stopped != "interrupted":
        return None
    return AdviceRecord(
        code="interrupted",
        text=f"The run was interrupted after {document.rule.blocks} complete blocks; what was finished is judged.",
        remedy=f"mastery run {document.experiment}",
    )


def _voids(document: RunDocument) -> list[AdviceRecord]:
    causes: dict[str, list[TrialRecord]] = {}
    for trial in document.trials:
        if trial.status == "void":
            causes.setdefault(trial.cause or "unknown", []).append(trial)
    return [
        AdviceRecord(
            code="void",
            text=f"{len(trials)} of {len(document.trials)} trials are void ({document.arm(trials[0].arm).label}): {cause}.",
            remedy="A void trial is repeated with its whole block; see `mastery results --json` for each.",
        )
        for cause, trials in sorted(causes.items(), key=lambda item: -len(item[1]))[:3]
    ]


def _disturbances(trials: list[TrialRecord]) -> list[AdviceRecord]:
    """What disturbed the trials from outside, said once for all of them; it never voids a trial (26 % of steal was seen
    on one machine, and voiding would have left nothing)."""
    seen = tuple(disturbance_of(trial) for trial in trials)
    return [AdviceRecord(code=each.code, text=each.text, remedy=each.remedy) for each in advise_on_disturbance(seen)]


def disturbance_of(trial: TrialRecord) -> Disturbance:
    """What the engine read beside the trial, as it stands in its record."""
    read = trial.disturbance
    return Disturbance(
        elapsed_ns=int(read.get("elapsed_ns", 0)),
        steal_share=trial.steal,
        voluntary_switches=trial.switches.get("voluntary", 0),
        involuntary_switches=trial.switches.get("involuntary", 0),
        major_faults=int(read.get("major_faults", 0)),
        throttled_periods=int(read["throttled_periods"]) if "throttled_periods" in read else None,
        throttled_ns=int(read["throttled_ns"]) if "throttled_ns" in read else None,
        cpu_pressure_share=read.get("cpu_pressure_share"),
        memory_pressure_share=read.get("memory_pressure_share"),
        io_pressure_share=read.get("io_pressure_share"),
    )


def _clock_share(document: RunDocument) -> AdviceRecord | None:
    shares = {
        document.arm(int(index)).label: clock_share(document.noise, [Histogram.from_sparse(sparse)])
        for index, sparse in document.histograms.items()
    }
    return advise_on_clock_share(shares)


def _outliers(document: RunDocument) -> AdviceRecord | None:
    """Trials far from the others of their arm: marked and kept, since voiding them would be choosing what to see.

    Far: more than 3.5 robust deviations on the log scale (Iglewicz and Hoaglin 1993).
    """
    metric = document.primary
    values: dict[int, list[float]] = {}
    for trial in document.trials:
        figure = trial.metrics.get(metric.name, 0.0)
        if trial.status == "ok" and not (trial.cold or trial.ramp or trial.reference) and figure > 0:
            values.setdefault(trial.arm, []).append(math.log(figure))
    far = sum(len(outliers(logs)) for logs in values.values())
    trials = sum(len(logs) for logs in values.values())
    if metric.role == "guardrail" or not far:
        return None
    return AdviceRecord(
        code="outliers",
        text=f"{far} of {trials} trials lie far from the others of their arm in {metric.name}; they are kept and counted.",
        remedy="See them as the faint points of the plot, and each in `mastery results --json`.",
    )


def outliers(values: list[float]) -> list[float]:
    """The values more than 3.5 robust deviations from their median; none among fewer than 6, or where most are equal."""
    if len(values) < 6:
        return []
    middle = median(values)
    deviation = 1.4826 * median(abs(each - middle) for each in values)
    return [each for each in values if deviation > 0 and abs(each - middle) > 3.5 * deviation]


def _drifting(trials: list[TrialRecord]) -> AdviceRecord | None:
    drifting = [trial for trial in trials if trial.load.get("steadiness") == "drifting"]
    if len(drifting) * 4 < len(trials) or not trials:
        return None
    return AdviceRecord(
        code="not-steady",
        text=f"{len(drifting)} of {len(trials)} trials had not reached a steady state: latency drifted inside them.",
        remedy="Give the trials more time: --rigorous, or a larger --budget.",
    )


def _unstable(trials: list[TrialRecord]) -> AdviceRecord | None:
    unstable = [trial for trial in trials if trial.load.get("stable") == "no"]
    if not unstable:
        return None
    return AdviceRecord(
        code="unstable",
        text=f"In {len(unstable)} trials the offered load was above capacity: the queue grew, and no percentile is shown.",
        remedy="Offer less.",
    )


def _alarm(document: RunDocument) -> AdviceRecord | None:
    if not document.noise.get("a_a_alarm"):
        return None
    ratio = float(document.noise["a_a_ratio"])
    return AdviceRecord(
        code="a-a-alarm",
        text=f"The baseline measured against itself differed by a factor of {ratio:.2f}: one run in twenty does by chance.",
        remedy="Run again; `mastery doctor` shows how often it happened on this machine.",
    )
