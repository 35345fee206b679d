"""Whether a trial had reached its steady state: a trend over windows of equal time, tested and not assumed."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from mastery.lab.distributions import normal_probability
from mastery.lab.signed_rank import Floats

WINDOWS = 20
FEWEST_WINDOWS = 8
FEWEST_SAMPLES = 5  # in a window, for a median worth having
RISK = 0.01  # every trial is tested: at 5 % a run of a hundred would complain five times about nothing
TOLERANCE = 0.10


class Steadiness(StrEnum):
    """What the windows of a trial show."""

    STEADY = "steady"
    DRIFTING = "drifting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SteadyState:
    """`drift` is last over first of the fitted trend (1.2: it grew by a fifth); NaN where too few windows could be filled."""

    steadiness: Steadiness
    drift: float
    p_value: float
    windows: int


def steady_state(
    finished_ns: npt.NDArray[np.int64], latencies_ns: npt.NDArray[np.int64], *, tolerance: float = TOLERANCE
) -> SteadyState:
    """Tests the latencies of one trial for a trend; both arrays run over its operations, in any order.

    Windows of equal time (not of equal count, which a stall would stretch) give medians; Mann and Kendall's test on their
    logarithms says whether there is a trend, Theil and Sen's slope how much it makes over the trial (Mann 1945; Sen 1968).
    Drifting = significant and beyond `tolerance`: millions of samples make any trend significant, and chance makes some large.
    """
    medians = _window_medians(finished_ns, latencies_ns)
    filled = np.flatnonzero(~np.isnan(medians))
    if filled.size < FEWEST_WINDOWS:
        return SteadyState(Steadiness.UNKNOWN, math.nan, math.nan, int(filled.size))
    logs = np.log(np.maximum(medians[filled], 1.0))
    p_value = trend_p(logs)
    drift = math.exp(_slope(filled.astype(np.float64), logs) * float(filled[-1] - filled[0]))
    moved = abs(math.log(drift)) > math.log1p(tolerance)
    steadiness = Steadiness.DRIFTING if moved and p_value <= RISK else Steadiness.STEADY
    return SteadyState(steadiness, drift, p_value, int(filled.size))


def _window_medians(finished_ns: npt.NDArray[np.int64], latencies_ns: npt.NDArray[np.int64]) -> Floats:
    """The median of each window, NaN where it has too few samples."""
    medians = np.full(WINDOWS, math.nan)
    if finished_ns.size == 0:
        return medians
    start = int(finished_ns.min())
    span = int(finished_ns.max()) - start + 1
    window = (finished_ns - start) * WINDOWS // span
    order = np.argsort(window, kind="stable")
    edges = np.searchsorted(window[order], np.arange(WINDOWS + 1))
    for index in range(WINDOWS):
        inside = latencies_ns[order[edges[index] : edges[index + 1]]]
        if inside.size >= FEWEST_SAMPLES:
            medians[index] = np.median(inside)
    return medians


def trend_p(values: Floats) -> float:
    """Two-sided p of Mann and Kendall's test for a monotonic trend, with continuity and the correction for ties (Kendall 1975)."""
    count = int(values.size)
    later, earlier = np.tril_indices(count, -1)
    score = int(np.sign(values[later] - values[earlier]).sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18.0
    if variance <= 0.0 or score == 0:
        return 1.0
    return 2.0 * normal_probability(-(abs(score) - 1) / math.sqrt(variance))


def _slope(at: Floats, values: Floats) -> float:
    """Theil and Sen's slope: the median of the slopes between all pairs."""
    later, earlier = np.tril_indices(at.size, -1)
    return float(np.median((values[later] - values[earlier]) / (at[later] - at[earlier])))
