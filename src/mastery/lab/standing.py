"""How a claim stands in a run: decided on intervals, and on the worst trial where the claim is about a guardrail."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mastery.lab.claim import Claim, Comparison, Quantity, Relation, factor_of
from mastery.lab.conduct import PERCENTILES
from mastery.lab.document import ClaimRecord, Estimate
from mastery.lab.evidence import Evidence
from mastery.lab.experiment import Arm, Level
from mastery.lab.plan import Plan
from mastery.lab.planning import RISK
from mastery.lab.signed_rank import SignedRank


@dataclass(frozen=True, slots=True)
class _Found:
    """One figure that a claim speaks of; bounds are None where there are too few trials for an interval."""

    value: float
    low: float | None
    high: float | None


def standing(claim: Claim, evidence: Evidence, estimates: Sequence[Estimate]) -> ClaimRecord:
    """The claim's record: it holds (or fails) only when the whole interval does, at every level that it names."""
    text = claim.text or claim.comparison.text()
    found: list[_Found] = []
    for at in _places(claim.comparison, evidence):
        figure = _figure(claim.comparison, at, evidence, estimates)
        if isinstance(figure, str):
            return ClaimRecord(id=claim.id, text=text, because=claim.because, standing="not_run", why=figure)
        found.append(figure)
    answers = [_holds(each, claim.comparison) for each in found]
    weakest = min(found, key=lambda each: _margin(each, claim.comparison))
    if False in answers:
        stands = "fails"
    elif None in answers:
        stands = "inconclusive"
    else:
        stands = "holds"
    return ClaimRecord(
        id=claim.id,
        text=text,
        because=claim.because,
        standing=stands,  # type: ignore[arg-type]  # one of the three words above
        value=_finite(weakest.value),
        low=_finite(weakest.low),
        high=_finite(weakest.high),
        why=_why(claim.comparison, weakest, evidence),
    )


def _places(comparison: Comparison, evidence: Evidence) -> list[dict[str, Level]]:
    """The levels that the claim fixes; several when it must hold at every level of a factor."""
    if comparison.every_level is None:
        return [dict(comparison.at)]
    # A level whose arm was skipped is one of them: a claim about every level does not hold by the others alone.
    plan = evidence.plan
    factor = comparison.every_level
    levels = dict.fromkeys([*(arm.levels[factor] for arm in plan.arms), *(arm.levels[factor] for arm in plan.skipped)])
    return [{**comparison.at, comparison.every_level: level} for level in levels]


def _figure(comparison: Comparison, at: Mapping[str, Level], evidence: Evidence, estimates: Sequence[Estimate]) -> _Found | str:
    """The figure at one place, or the reason why there is none."""
    plan = evidence.plan
    if comparison.quantity is Quantity.RATIO:
        factor = factor_of(comparison.level, comparison.over, {each.name: each.levels for each in plan.experiment.factors})
        arm = _find_arm(plan, {**at, factor: _required(comparison.level)})
        over = _find_arm(plan, {**at, factor: _required(comparison.over)})
        if arm is None or over is None:
            return _not_run(plan, {**at, factor: _required(comparison.level if arm is None else comparison.over)})
        logs = evidence.log_values(comparison.metric)
        # Two figures of zero have no ratio; there is nothing to warn of.
        with np.errstate(invalid="ignore"):
            found = _ratio(logs[:, evidence.column(arm.index)] - logs[:, evidence.column(over.index)], comparison)
        return found if isinstance(found, str) else _without_clock(found, comparison, evidence, (arm.index, over.index))
    arm = _find_arm(plan, at)
    if arm is None:
        return _not_run(plan, at)
    if comparison.quantity in (Quantity.WORST, Quantity.LEAST):
        values = evidence.all_values(arm.index, comparison.metric)
        if not values:
            return f"no trial of {arm.label()} recorded {comparison.metric}"
        extreme = max(values) if comparison.quantity is Quantity.WORST else min(values)
        return _Found(extreme, extreme, extreme)
    # The same figure that the page shows: a percentile is that of the pooled samples.
    shown = next((each for each in estimates if (each.arm, each.metric) == (arm.index, comparison.metric)), None)
    if shown is None or shown.withheld is not None:
        return shown.withheld if shown and shown.withheld else f"no trial of {arm.label()} recorded {comparison.metric}"
    return _Found(shown.value, shown.low, shown.high)


def _not_run(plan: Plan, at: Mapping[str, Level]) -> str:
    """Which arm is missing: what the claim names, and the declared levels that this run does not have."""
    present = [arm.levels for arm in plan.arms]
    absent = {name: level for name, level in plan.home.items() if all(levels[name] != level for levels in present)}
    where = " ".join(f"{name}={level}" for name, level in {**absent, **at}.items())
    return f"the arm {where} was not run" if where else "the baseline was not run"


def _ratio(differences: np.ndarray[tuple[int], np.dtype[np.float64]], comparison: Comparison) -> _Found | str:
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return f"no block has {comparison.metric} for both arms"
    ranks = SignedRank.of(differences)
    interval = ranks.interval(RISK)
    bounds = interval.exponentiated() if interval else None
    return _Found(math.exp(ranks.centre), bounds.low if bounds else None, bounds.high if bounds else None)


def _without_clock(found: _Found, comparison: Comparison, evidence: Evidence, pair: tuple[int, int]) -> _Found:
    """The interval of a ratio of latencies, wide enough to hold whatever part of either the clock's readings are."""
    if comparison.metric not in PERCENTILES or found.low is None or found.high is None:
        return found
    ours, theirs = (evidence.clock_share(arm) for arm in pair)
    return _Found(found.value, found.low * (1.0 - ours), found.high / (1.0 - theirs) if theirs < 1.0 else math.inf)


def _required(level: Level | None) -> Level:
    assert level is not None, "a ratio names two levels"
    return level


def find_arm(arms: Sequence[Arm], at: Mapping[str, Level], *, home: Mapping[str, Level]) -> Arm | None:
    """The arm with these levels, every factor not named at its level in `home`; None when it does not run."""
    wanted = {**home, **at}
    return next((arm for arm in arms if dict(arm.levels) == wanted), None)


def _find_arm(plan: Plan, at: Mapping[str, Level]) -> Arm | None:
    # The declared baseline, not the run's own: what is claimed of `every` is not said of a run that compares with `never`.
    return find_arm(plan.arms, at, home=plan.home)


def _holds(found: _Found, comparison: Comparison) -> bool | None:
    if found.low is None or found.high is None:
        return None
    if comparison.relation is Relation.AT_LEAST:
        return True if found.low >= comparison.threshold else False if found.high < comparison.threshold else None
    return True if found.high <= comparison.threshold else False if found.low > comparison.threshold else None


def _margin(found: _Found, comparison: Comparison) -> float:
    """How far the figure stands on the claim's side of the threshold; the least decides what is shown."""
    sign = 1.0 if comparison.relation is Relation.AT_LEAST else -1.0
    return sign * (found.value - comparison.threshold)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _why(comparison: Comparison, found: _Found, evidence: Evidence) -> str:
    if comparison.quantity in (Quantity.WORST, Quantity.LEAST):
        return "the worst of all trials" if comparison.quantity is Quantity.WORST else "the least of all trials"
    if found.low is None:
        return f"{evidence.complete_blocks} blocks are too few for an interval"
    return f"over {evidence.complete_blocks} blocks"
