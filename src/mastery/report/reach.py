"""How far one arm reaches towards one need: from which threshold on it is satisfied surely, probably, perhaps.

Responses and costs are asked for the *next run*, by its prediction interval; guardrails for the *worst*: the worst trial
seen, the bound on what was not seen, and what the documentation allows even where no trial has shown it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mastery.errors import HostileImport
from mastery.lab.claim import Relation
from mastery.lab.document import ArmRecord, Estimate, GuardrailRecord, RunDocument
from mastery.lab.guardrail import share_upper_bound
from mastery.report.need import Need
from mastery.report.numbers import share, span

# A guardrail is called sure when, with 95 % confidence, fewer trials than this exceed the worst one seen: the same
# 95 % that a prediction interval of a response gives. 59 trials without an exception are the least that reach it.
SURE_SHARE = 0.05


class Sureness(StrEnum):
    """How sure it is that an arm satisfies what is needed, from best to worst."""

    SURELY = "surely"
    PROBABLY = "probably"
    UNKNOWN = "unknown"
    PROBABLY_NOT = "probably not"
    NO = "no"


_BEST_FIRST = tuple(Sureness)


def weakest(answers: Sequence[Sureness]) -> Sureness:
    """What several answers together amount to: a plain no outweighs not knowing, which outweighs probably."""
    return max(answers, key=_BEST_FIRST.index, default=Sureness.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Reach:
    """Thresholds in the metric's stored unit; `surely` is None where no threshold can be called sure.

    Without `probably` nothing is known. `measured` is the plain figure, `why` says where the thresholds come from.
    """

    arm: int
    need: Need
    why: str
    surely: float | None = None
    probably: float | None = None
    perhaps: float | None = None
    measured: float | None = None

    def at(self, threshold: float) -> Sureness:
        """The answer if the need had this threshold."""
        if self.probably is None:
            return Sureness.UNKNOWN
        if self.surely is not None and self._reaches(self.surely, threshold):
            return Sureness.SURELY
        if self._reaches(self.probably, threshold):
            return Sureness.PROBABLY
        if self.perhaps is not None and self._reaches(self.perhaps, threshold):
            return Sureness.PROBABLY_NOT
        return Sureness.NO

    def _reaches(self, bound: float, threshold: float) -> bool:
        return bound <= threshold if self.need.relation is Relation.AT_MOST else bound >= threshold


class DocumentedBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The worst that the documentation of a system allows on the arms with these levels; without `bound` there is no limit."""

    metric: str
    source: str
    bound: float | None = None
    levels: dict[str, str | int | float | bool] = {}

    def applies(self, arm: ArmRecord, need: Need) -> bool:
        return self.metric == need.metric and all(arm.levels.get(name) == level for name, level in self.levels.items())


def documented_bounds(document: RunDocument) -> list[DocumentedBound]:
    """What the declaration lists under `documented`; none where it lists nothing."""
    try:
        return msgspec.convert(document.declaration.get("documented", []), list[DocumentedBound])
    except msgspec.ValidationError as error:
        raise HostileImport(
            f"Run {document.id!r} declares documented bounds that cannot be read: {error}.", remedy="Choose another run."
        ) from error


def reach_of(document: RunDocument, arm: ArmRecord, need: Need, bounds: Sequence[DocumentedBound]) -> Reach:
    """How far the arm reaches towards the need."""
    if arm.skipped is not None:
        return Reach(arm.index, need, f"not run: {arm.skipped}")
    guardrail = document.guardrail(arm.index, need.metric)
    if guardrail is not None and guardrail.trials:
        return _of_guardrail(arm, guardrail, need, [each for each in bounds if each.applies(arm, need)])
    estimate = document.estimate(arm.index, need.metric)
    if estimate is None:
        return Reach(arm.index, need, f"{need.metric} was not measured")
    if estimate.withheld:
        return Reach(arm.index, need, f"withheld: {estimate.withheld}")
    return _of_estimate(document, arm, estimate, need)


def _of_estimate(document: RunDocument, arm: ArmRecord, estimate: Estimate, need: Need) -> Reach:
    value, low, high = estimate.value, estimate.next_low, estimate.next_high
    if document.rule.reason == "exact":
        return Reach(arm.index, need, f"counted: {need.shown(value)}", value, value, value, value)
    if low is None or high is None:
        why = f"{need.shown(value)} over {estimate.trials} trials, too few to say where the next run falls"
        return Reach(arm.index, need, why, measured=value)
    # The percentile of pooled samples may lie outside of where the trials' own values are expected.
    low, high = min(low, value), max(high, value)
    why = f"the next run is expected at {span(low, high, need.unit)}; this one: {need.shown(value)}"
    if need.relation is Relation.AT_MOST:
        return Reach(arm.index, need, why, high, value, low, value)
    return Reach(arm.index, need, why, low, value, high, value)


def _of_guardrail(arm: ArmRecord, record: GuardrailRecord, need: Need, bounds: Sequence[DocumentedBound]) -> Reach:
    at_most = need.relation is Relation.AT_MOST
    seen = record.maximum if at_most else record.minimum
    unseen = share_upper_bound(0, record.trials)
    worst, why = seen, f"worst of {record.trials} trials: {need.shown(seen)}"
    for bound in bounds:
        limit = (math.inf if at_most else -math.inf) if bound.bound is None else bound.bound
        if (limit > worst) if at_most else (limit < worst):
            worst = limit
        allowed = "without limit" if math.isinf(limit) else need.shown(limit)
        why += f"; documented: {allowed} ({bound.source})"
    if not bounds:
        why += f"; up to {share(unseen)} of trials may still be worse"
    surely = worst if bounds or unseen <= SURE_SHARE else None
    return Reach(arm.index, need, why, surely, worst, worst, seen)
