"""Verdicts: what an effect's interval allows us to say, and nothing more."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mastery.lab.experiment import Better
from mastery.lab.signed_rank import Interval


class Verdict(StrEnum):
    """What a comparison says about an arm."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    INSIDE_BAND = "inside the band"
    EXCLUDES_ONE = "excludes one"
    BELOW_FLOOR = "below the noise floor"
    TOO_WIDE = "interval too wide"
    TOO_FEW_BLOCKS = "too few blocks"
    VOIDS_APART = "voids apart"
    NO_RATIO = "no ratio"


@dataclass(frozen=True, slots=True)
class Band:
    """The ratios that nobody would act on: 1/(1 + d) to 1 + d, where d is the experiment's smallest effect."""

    margin: float  # log(1 + d), the half-width on the log scale

    @classmethod
    def of(cls, smallest_effect: float) -> "Band":
        """Takes d itself, a share: 0.10 for ten per cent."""
        if not smallest_effect > 0.0 or math.isinf(smallest_effect):
            raise ValueError(f"the smallest effect is a positive share, not {smallest_effect}")
        return cls(math.log1p(smallest_effect))


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with its reason; `relevant` when the effect lies wholly beyond the band."""

    verdict: Verdict
    reason: Reason
    relevant: bool = False


@dataclass(frozen=True, slots=True)
class LogEffect:
    """One arm against the baseline in logarithms: the centre, the interval to exclude 0, the one to fit the band."""

    centre: float
    difference: Interval | None
    equivalence: Interval | None


def rule(effect: LogEffect, band: Band, *, floor: float, better: str) -> Ruling:
    """Equivalent first, then better or worse, else inconclusive; `floor` is the noise floor of a log ratio."""
    if effect.equivalence is not None and effect.equivalence.lies_within(-band.margin, band.margin):
        return Ruling(Verdict.EQUIVALENT, Reason.INSIDE_BAND)
    if effect.difference is None:
        return Ruling(Verdict.INCONCLUSIVE, Reason.TOO_FEW_BLOCKS)
    if not effect.difference.excludes(0.0):
        return Ruling(Verdict.INCONCLUSIVE, Reason.TOO_WIDE)
    if abs(effect.centre) <= floor:
        return Ruling(Verdict.INCONCLUSIVE, Reason.BELOW_FLOOR)
    good = (effect.difference.high < 0.0) == (Better(better) is Better.LOWER)
    relevant = effect.difference.low > band.margin or effect.difference.high < -band.margin
    return Ruling(Verdict.BETTER if good else Verdict.WORSE, Reason.EXCLUDES_ONE, relevant)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """One test of a family: its adjusted p, and the risk whose plain interval excludes exactly when the test is rejected."""

    p_value: float
    risk: float


def holm(p_values: Sequence[float], *, risk: float) -> tuple[Adjusted, ...]:
    """Holm's step-down adjustment (1979): the whole family errs with probability at most `risk`, whatever the tests share.

    The j-th smallest of m is tested at risk/(m - j + 1), until one fails; those behind it keep the risk of the one that
    failed. Equal p-values share the stricter risk, so that the order of the arms decides nothing. The intervals at these
    risks agree with the decisions; together they do not cover at 1 - risk, as Bonferroni's would.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted: dict[int, Adjusted] = {}
    greatest, step_risk, previous = 0.0, risk / max(1, len(order)), -1.0
    failed = False
    for step, index in enumerate(order):
        p_value = p_values[index]
        greatest = max(greatest, min(1.0, (len(order) - step) * p_value))
        if not failed and p_value != previous:
            step_risk = risk / (len(order) - step)
        failed = failed or p_value > step_risk
        previous = p_value
        adjusted[index] = Adjusted(greatest, step_risk)
    return tuple(adjusted[index] for index in range(len(p_values)))


def voids_apart(voids: Sequence[int], attempts: Sequence[int], *, at_most: float = 0.10) -> float | None:
    """The gap between the arms' void shares when it is wide enough (over ten points) to withhold the verdicts, else None.

    Voids are informative: an arm that loses a third of its trials shows only its survivors.
    """
    shares = [void / attempt for void, attempt in zip(voids, attempts, strict=True) if attempt > 0]
    if not shares:
        return None
    gap = max(shares) - min(shares)
    # Shares are quotients of small integers: 3/10 - 2/10 must count as ten points and not as a rounding more.
    return gap if gap > at_most + 1e-9 else None
