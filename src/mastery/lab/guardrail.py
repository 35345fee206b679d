"""Guardrails: what was lost, stale or wrong is counted and bounded from above, never averaged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mastery.lab.distributions import beta_quantile, normal_quantile


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A guardrail over the trials of one arm; `share_bound` says what share of trials may still be hit, at `level`."""

    trials: int
    trials_with_any: int
    maximum: float
    total: float
    share_bound: float
    level: float


def guardrail(amounts: Sequence[float], *, level: float = 0.95) -> Guardrail | None:
    """Sums up one amount a trial (kill, history); None without trials, because nothing seen in nothing bounds nothing."""
    if not amounts:
        return None
    with_any = sum(1 for amount in amounts if amount != 0)
    bound = share_upper_bound(with_any, len(amounts), level=level)
    # fsum: a total of many small losses must not depend on their order.
    return Guardrail(len(amounts), with_any, float(max(amounts)), math.fsum(amounts), bound, level)


def share_upper_bound(hits: int, trials: int, *, level: float = 0.95) -> float:
    """The one-sided upper bound of Clopper and Pearson on the share behind `hits` of `trials`: 0 of 20 still allows 14 %."""
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"{hits} hits in {trials} trials are no count of hits")
    if hits == trials:
        return 1.0
    return beta_quantile(level, hits + 1.0, float(trials - hits))


def wilson_interval(hits: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The two-sided score interval of a share (Wilson 1927): for hit rates and the A/A report, where both sides matter."""
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"{hits} hits in {trials} trials are no count of hits")
    deviate = normal_quantile(0.5 + level / 2.0)
    share = hits / trials
    scale = 1.0 + deviate**2 / trials
    centre = (share + deviate**2 / (2 * trials)) / scale
    reach = deviate / scale * math.sqrt(share * (1.0 - share) / trials + deviate**2 / (4.0 * trials**2))
    # At 0 and at all of the trials the formula's bound is exactly 0 or 1; rounding must not say otherwise.
    low = 0.0 if hits == 0 else max(0.0, centre - reach)
    high = 1.0 if hits == trials else min(1.0, centre + reach)
    return low, high
