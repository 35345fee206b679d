"""The noise floor: the ratio that chance alone would show between two equal arms of this run."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mastery.lab.distributions import normal_quantile
from mastery.lab.signed_rank import Floats

# What makes the median absolute deviation of n normal values unbiased for their standard deviation, beyond 1.4826:
# Croux and Rousseeuw, Time-efficient algorithms for two highly robust estimators of scale (1992), table for n = 2 to 9.
_SMALL_SAMPLE = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
_MAD_TO_DEVIATION = 1.4826

# The variance of the Hodges-Lehmann estimate over that of the mean, for normal noise.
HODGES_LEHMANN_VARIANCE = math.pi / 3.0


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """`spread` is the robust standard deviation of a paired log ratio, whatever arms it pairs; NaN where nothing can be paired."""

    spread: float
    pairs: int

    def log_floor(self, blocks: int, *, risk: float = 0.05) -> float:
        """The log ratio that two equal arms exceed over this many blocks with probability `risk`."""
        if math.isnan(self.spread) or blocks == 0:
            return math.inf
        return normal_quantile(1.0 - risk / 2.0) * self.spread * math.sqrt(HODGES_LEHMANN_VARIANCE / blocks)

    def ratio_floor(self, blocks: int, *, risk: float = 0.05) -> float:
        """The same as a share: 0.03 says that nothing under 3 % is claimed."""
        return math.expm1(min(self.log_floor(blocks, risk=risk), 700.0))


def noise_floor(log_values: Floats) -> NoiseFloor:
    """The floor from the block residuals of all arms; `log_values` is block x arm with NaN for missing.

    The residual is that of a pair of arms inside one block: the difference of their logarithms minus its median over the
    blocks. It is free of the arms' and of the block's own level without estimating the latter, which few arms do badly:
    with three, the block's median is one of the three values, and a third of the residuals would be zero.
    """
    residuals: list[Floats] = []
    for first, second in combinations(range(log_values.shape[1]), 2):
        # Two values of zero have no difference of logarithms; it is left out below as any other that is not finite.
        with np.errstate(invalid="ignore"):
            differences = log_values[:, first] - log_values[:, second]
        differences = differences[np.isfinite(differences)]
        if differences.size >= 2:
            count = int(differences.size)
            correction = _SMALL_SAMPLE.get(count, count / (count - 0.8))
            residuals.append(np.abs(differences - np.median(differences)) * (correction * _MAD_TO_DEVIATION))
    if not residuals:
        return NoiseFloor(math.nan, 0)
    return NoiseFloor(float(np.median(np.concatenate(residuals))), len(residuals))
