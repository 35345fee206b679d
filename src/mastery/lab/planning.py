"""How many blocks a run takes, fixed from a pilot before anything is judged, and whether the budget holds them."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mastery.lab.distributions import student_quantile
from mastery.lab.floor import HODGES_LEHMANN_VARIANCE
from mastery.lab.signed_rank import Floats, blocks_for

PILOT_BLOCKS = 4
FEWEST_BLOCKS = 6  # five blocks attain 93.75 % at best: no 95 % interval exists
RISK = 0.05


class Mode(StrEnum):
    """How much time a run may take, and how much its verdicts weigh."""

    QUICK = "quick"
    NORMAL = "normal"
    RIGOROUS = "rigorous"

    @property
    def fewest_blocks(self) -> int:
        """The number of blocks a run of this mode takes when the budget allows, however quiet the pilot was."""
        return {Mode.QUICK: FEWEST_BLOCKS, Mode.NORMAL: 10, Mode.RIGOROUS: 20}[self]


class PlanReason(StrEnum):
    """What fixed the number of blocks."""

    PRECISION = "precision"
    MINIMUM = "minimum"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The number of blocks, pilot included; `wanted` is what precision asks for, of which the budget may hold fewer."""

    blocks: int
    reason: PlanReason
    wanted: int
    minimum: int
    affordable: int
    widest_arm: int | None  # the arm whose spread asked for `wanted` blocks


@dataclass(frozen=True, slots=True)
class BudgetSum:
    """What the fewest blocks cost against the budget: the sum that a refusal shows."""

    arms: int
    trial_s: float
    fewest_blocks: int
    needed_s: float
    budget_s: float
    affordable: int

    @property
    def fits(self) -> bool:
        """Whether the fewest blocks that can be judged fit the budget."""
        return self.affordable >= self.fewest_blocks

    def __str__(self) -> str:
        cost = f"{self.fewest_blocks} blocks x {self.arms} arms x {self.trial_s:.3g} s = {self.needed_s:.3g} s"
        return f"{cost}, the budget is {self.budget_s:.3g} s"


def budget_sum(*, arms: int, trial_s: float, budget_s: float, fixed_s: float = 0.0) -> BudgetSum:
    """How many blocks fit: a block is every arm once, `trial_s` on average with its set-up; `fixed_s` is spent before the first."""
    if arms < 1 or not trial_s > 0.0:
        raise ValueError(f"a block of {arms} arms with trials of {trial_s} s cannot be planned")
    block_s = arms * trial_s
    # Ten blocks of 0.1 s fit one second, although ten times 0.1 is not quite what a float makes of it.
    affordable = max(0, math.floor((budget_s - fixed_s) / block_s + 1e-9))
    return BudgetSum(arms, trial_s, FEWEST_BLOCKS, fixed_s + FEWEST_BLOCKS * block_s, budget_s, affordable)


def fewest_blocks(mode: Mode, *, family: int) -> int:
    """The mode's own minimum, or more where Holm's strictest interval over `family` arms could not exclude anything."""
    if mode is Mode.QUICK:
        return mode.fewest_blocks
    return max(mode.fewest_blocks, blocks_for(RISK / max(1, family)))


def plan_blocks(
    pilot: Floats,
    *,
    baseline: int,
    smallest_effect: float,
    mode: Mode,
    affordable: int,
    twin: int | None = None,
) -> BlockPlan:
    """Stein's two stages: the pilot's spread fixes the number of blocks, and the verdict is not looked at on the way.

    `pilot` holds the logarithms of the primary metric, block x arm, NaN for missing. Each arm's 95 % interval shall
    have a half-width of at most log(1 + smallest_effect/2) or a tenth of its log ratio, whichever is greater:
    n = (t s / h)^2 with t of the pilot's degrees of freedom (Stein 1945), times pi/3 because the signed-rank interval
    is that much less efficient than the mean's under normal noise. The neediest arm decides; `twin` (the baseline's
    double) asks for nothing.
    """
    wanted, widest = 0, None
    others = [arm for arm in range(pilot.shape[1]) if arm not in (baseline, twin)]
    for arm in others:
        # Two figures of zero have no ratio; they ask for nothing, and there is nothing to warn of.
        with np.errstate(invalid="ignore"):
            log_ratios = pilot[:, arm] - pilot[:, baseline]
        needed = _blocks_wanted(log_ratios, smallest_effect)
        if needed > wanted:
            wanted, widest = needed, arm
    minimum = fewest_blocks(mode, family=len(others))
    blocks = max(wanted, minimum)
    if blocks > affordable:
        return BlockPlan(affordable, PlanReason.BUDGET, wanted, minimum, affordable, widest)
    reason = PlanReason.PRECISION if wanted > minimum else PlanReason.MINIMUM
    return BlockPlan(blocks, reason, wanted, minimum, affordable, widest)


def _blocks_wanted(log_ratios: Floats, smallest_effect: float) -> int:
    log_ratios = log_ratios[np.isfinite(log_ratios)]
    if log_ratios.size < 2:
        return 0  # two void trials in the pilot say nothing about the spread; the minimum or the other arms decide
    half_width = max(math.log1p(smallest_effect / 2.0), abs(float(np.median(log_ratios))) / 10.0)
    deviate = student_quantile(1.0 - RISK / 2.0, int(log_ratios.size) - 1)
    blocks = HODGES_LEHMANN_VARIANCE * (deviate * float(log_ratios.std(ddof=1)) / half_width) ** 2
    # A budget never holds a billion blocks, and a wild pilot must not overflow the sum.
    return math.ceil(min(blocks, 1e9))
