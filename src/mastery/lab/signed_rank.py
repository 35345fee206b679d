"""Wilcoxon's signed-rank test turned round: what the paired differences of a run say about their centre.

The estimate is Hodges and Lehmann's: the median of the Walsh averages (x_i + x_j)/2, i <= j. The interval consists of two
order statistics of the same averages (Hollander, Wolfe, Chicken: Nonparametric Statistical Methods, 3.1 to 3.3). It asks only that
a difference is symmetric about the centre, which it is whenever noise strikes both arms of a block alike.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mastery.lab.distributions import normal_probability, normal_quantile

Floats = npt.NDArray[np.float64]

EXACT_UP_TO = 200  # 3 ms once; above, the normal approximation errs below 0.0005


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds, the level that they attain (never below the one asked for), and the number of values they rest on."""

    low: float
    high: float
    level: float
    count: int

    @property
    def reach(self) -> float:
        """Half of the width."""
        return (self.high - self.low) / 2.0

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; a bound itself counts as inside."""
        return value < self.low or value > self.high

    def lies_within(self, low: float, high: float) -> bool:
        """Whether the whole interval lies strictly between `low` and `high`."""
        return low < self.low and self.high < high

    def exponentiated(self) -> "Interval":
        """The same interval of logarithms, read as ratios."""
        # A ratio above e^700 has no float; infinity says what is known about it.
        low, high = (math.exp(min(bound, 709.0)) if bound < 709.0 else math.inf for bound in (self.low, self.high))
        return Interval(low, high, self.level, self.count)


@lru_cache(maxsize=512)
def _cumulative(count: int) -> Floats:
    """P(T <= t) for t = 0 .. n(n+1)/2: every rank is in the sum or not, each with probability one half."""
    probabilities = np.zeros(count * (count + 1) // 2 + 1)
    probabilities[0] = 1.0
    for rank in range(1, count + 1):
        # Halving is exact in floats, so that up to 52 ranks every probability is the exact count over 2**n.
        halves = probabilities / 2.0
        probabilities = halves.copy()
        probabilities[rank:] += halves[:-rank]
    return np.asarray(np.minimum(np.cumsum(probabilities), 1.0))


def rank_sum_probability(rank_sum: int, count: int) -> float:
    """P(T <= rank_sum) when the `count` differences are symmetric about zero."""
    if rank_sum < 0:
        return 0.0
    if count <= EXACT_UP_TO:
        cumulative = _cumulative(count)
        return float(cumulative[min(rank_sum, cumulative.size - 1)])
    mean = count * (count + 1) / 4.0
    deviation = math.sqrt(count * (count + 1) * (2 * count + 1) / 24.0)
    return normal_probability((rank_sum + 0.5 - mean) / deviation)


@lru_cache(maxsize=4096)
def critical_rank(count: int, risk: float) -> int | None:
    """The greatest k with 2 P(T <= k) <= risk: the Walsh averages left out on each side; None when even k = 0 is too many."""
    if count <= EXACT_UP_TO:
        rank = int(np.searchsorted(2.0 * _cumulative(count), risk, side="right")) - 1
        return rank if rank >= 0 else None
    mean = count * (count + 1) / 4.0
    deviation = math.sqrt(count * (count + 1) * (2 * count + 1) / 24.0)
    rank = math.floor(mean - 0.5 + deviation * normal_quantile(risk / 2.0))
    return rank if rank >= 0 else None


def blocks_for(risk: float) -> int:
    """The least number of differences whose interval can attain 1 - risk: 6 at 95 %, 8 when four arms share the 5 %."""
    return max(1, math.ceil(1.0 - math.log2(risk)))


@lru_cache(maxsize=512)
def _pairs(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.triu_indices(count)


def walsh_averages(differences: Floats) -> Floats:
    """All n(n+1)/2 averages of two differences, each with itself included, in rising order."""
    first, second = _pairs(differences.size)
    # Halved before the sum: two huge values must not overflow, and x/2 + x/2 is x again.
    halves = differences / 2.0
    averages: Floats = np.sort(halves[first] + halves[second])
    return averages


@dataclass(frozen=True, slots=True, eq=False)
class SignedRank:
    """The paired differences of one comparison, sorted once, from which estimate, intervals and p-values are read."""

    averages: Floats
    count: int

    @classmethod
    def of(cls, differences: Floats) -> "SignedRank":
        """Takes finite differences, at least one."""
        if differences.size == 0 or not np.isfinite(differences).all():
            raise ValueError(f"signed ranks need finite differences, got {differences!r}")
        return cls(walsh_averages(differences), int(differences.size))

    @property
    def centre(self) -> float:
        """The Hodges-Lehmann estimate."""
        return float(np.median(self.averages))

    def interval(self, risk: float) -> Interval | None:
        """The two-sided interval that misses the centre with probability at most `risk`; None for too few differences."""
        rank = critical_rank(self.count, risk)
        if rank is None:
            return None
        attained = 1.0 - 2.0 * rank_sum_probability(rank, self.count)
        return Interval(float(self.averages[rank]), float(self.averages[-1 - rank]), attained, self.count)

    def p_value(self, centre: float = 0.0) -> float:
        """Two-sided p of "the centre is `centre`"; at most `risk` exactly when `interval(risk)` excludes it.

        Zeros and ties count against a finding on both sides, so that interval and p never disagree; with neither
        present this is the exact p of the textbook.
        """
        below = int(np.searchsorted(self.averages, centre, side="right"))
        above = self.averages.size - int(np.searchsorted(self.averages, centre, side="left"))
        return min(1.0, 2.0 * rank_sum_probability(min(below, above), self.count))

    def equivalence_p(self, margin: float) -> float:
        """p of "the centre lies outside (-margin, margin)", the greater of two one-sided tests (Schuirmann 1987)."""
        at_most_low = int(np.searchsorted(self.averages, -margin, side="right"))
        at_least_high = self.averages.size - int(np.searchsorted(self.averages, margin, side="left"))
        return rank_sum_probability(max(at_most_low, at_least_high), self.count)
