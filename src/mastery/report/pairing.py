"""Tells two arms of one run apart within its blocks, as the engine compares them."""

import numpy as np

from mastery.lab.document import Estimate, RunDocument
from mastery.lab.signed_rank import SignedRank

RISK = 0.05


def values_by_block(document: RunDocument, arm: int, metric: str) -> dict[int, float]:
    """An arm's own good trials: not the cold one, not the A/A twin, not a reference tool's."""
    return {
        trial.block: trial.metrics[metric]
        for trial in document.trials
        if (trial.arm, trial.status, trial.reference) == (arm, "ok", None)
        and not trial.cold
        and not trial.placebo
        and metric in trial.metrics
    }


def indistinguishable(document: RunDocument, one: int, other: int) -> str | None:
    """Why two arms cannot be told apart on the primary metric; None where they can."""
    primary, is_exact = document.primary.name, document.rule.reason == "exact"
    ours, theirs = values_by_block(document, one, primary), values_by_block(document, other, primary)
    both = np.array([(ours[block], theirs[block]) for block in sorted(ours.keys() & theirs.keys())])
    if both.size and not is_exact and both.min() > 0:
        interval = SignedRank.of(np.log(both[:, 0]) - np.log(both[:, 1])).interval(RISK)
        if interval is not None:
            return None if interval.excludes(0.0) else f"the paired ratio over {len(both)} blocks includes 1"
    return _overlapping(document.estimate(one, primary), document.estimate(other, primary), is_exact=is_exact)


def _overlapping(first: Estimate | None, second: Estimate | None, *, is_exact: bool) -> str | None:
    if first is None or second is None:
        return "not both have a figure on the primary metric"
    if is_exact:
        return "counted the same" if first.value == second.value else None
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return "too few blocks to tell them apart"
    return "their intervals overlap" if first.low <= second.high and second.low <= first.high else None
