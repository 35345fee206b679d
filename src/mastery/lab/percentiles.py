"""Percentiles that a run may show: of the pooled samples, with intervals from resampling whole blocks.

Percentiles of trials are never averaged. The block is what is resampled, because requests of one trial share its fate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mastery.lab.distributions import normal_probability, student_quantile
from mastery.lab.histogram import Histogram, highest_of, merge_all
from mastery.lab.signed_rank import Floats, Interval

SAMPLES_BEYOND = 4  # expected beyond the percentile: 400 samples for p99, 4,000 for p99.9, 8 for the median
RESAMPLES = 2_000
FEWEST_BLOCKS = 6


def samples_for(quantile: float) -> int:
    """The fewest samples from which the percentile is shown: four of them are expected on its thinner side."""
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"a percentile lies strictly between 0 and 1, not at {quantile}")
    return math.ceil(SAMPLES_BEYOND / min(quantile, 1.0 - quantile) - 1e-6)


@dataclass(frozen=True, slots=True)
class PooledPercentile:
    """The percentile of all samples of an arm in ns; `interval` is None below 6 blocks."""

    value_ns: int
    interval: Interval | None
    samples: int
    blocks: int


def trial_percentile_ns(histogram: Histogram, quantile: float) -> int | None:
    """A trial's own percentile, None where it has too few samples for one."""
    return histogram.percentile_ns(quantile) if histogram.count >= samples_for(quantile) else None


def pooled_percentile(
    by_block: Sequence[Histogram], quantile: float, *, random: np.random.Generator, level: float = 0.95
) -> PooledPercentile | None:
    """The percentile over one arm's blocks; None below the floor of pooled samples."""
    filled = [histogram for histogram in by_block if histogram.count]
    pooled = merge_all(filled)
    if pooled.count < samples_for(quantile):
        return None
    interval = None
    if len(filled) >= FEWEST_BLOCKS:
        weights = _resample(len(filled), random)
        interval = _expanded_interval(np.log(_percentiles(filled, weights, quantile)), len(filled), level).exponentiated()
    return PooledPercentile(pooled.percentile_ns(quantile), interval, pooled.count, len(filled))


@dataclass(frozen=True, slots=True)
class PercentileEffect:
    """The ratio of two arms' pooled percentiles with its interval from resampling blocks, both arms by the same blocks."""

    ratio: float
    interval: Interval | None
    blocks: int


def resampled_effect(
    arm: Sequence[Histogram],
    baseline: Sequence[Histogram],
    quantile: float,
    *,
    random: np.random.Generator,
    level: float = 0.95,
) -> PercentileEffect | None:
    """The effect on a percentile whose trials have too few samples for their own; None where the pools have too few as well.

    Where trials have their own, `judge` on their logarithms is the better way: it pairs within blocks.
    """
    both = [(one, other) for one, other in zip(arm, baseline, strict=True) if one.count and other.count]
    ours, theirs = [one for one, _ in both], [other for _, other in both]
    fewest = samples_for(quantile)
    if sum(each.count for each in ours) < fewest or sum(each.count for each in theirs) < fewest:
        return None
    ratio = max(1, merge_all(ours).percentile_ns(quantile)) / max(1, merge_all(theirs).percentile_ns(quantile))
    interval = None
    if len(both) >= FEWEST_BLOCKS:
        weights = _resample(len(both), random)
        log_ratios = np.log(_percentiles(ours, weights, quantile)) - np.log(_percentiles(theirs, weights, quantile))
        interval = _expanded_interval(log_ratios, len(both), level).exponentiated()
    return PercentileEffect(ratio, interval, len(both))


def _resample(blocks: int, random: np.random.Generator) -> Floats:
    """How often each block is drawn, resample x block."""
    return random.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=RESAMPLES).astype(np.float64)


def _percentiles(by_block: Sequence[Histogram], weights: Floats, quantile: float) -> Floats:
    """The pooled percentile of each resample, in ns and at least 1, so that it has a logarithm."""
    buckets = np.unique(np.concatenate([each.buckets for each in by_block]))
    counts = np.zeros((len(by_block), buckets.size))
    for row, each in enumerate(by_block):
        counts[row, np.searchsorted(buckets, each.buckets)] = each.counts
    below = np.cumsum(counts, axis=1)
    ranks = quantile * (weights @ below[:, -1])
    # Every row of `weights @ below` rises, so the percentile is found by halving, without building the whole matrix.
    low = np.zeros(len(weights), dtype=np.int64)
    high = np.full(len(weights), buckets.size - 1, dtype=np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        reached = np.einsum("rb,br->r", weights, below[:, middle]) >= ranks * (1.0 - 1e-12)
        high = np.where(reached, middle, high)
        low = np.where(reached, low, np.minimum(middle + 1, high))
    return np.maximum(highest_of(buckets[low]), 1).astype(np.float64)


def _expanded_interval(statistics: Floats, blocks: int, level: float) -> Interval:
    """Hesterberg's expanded percentile interval (What Teachers Should Know About the Bootstrap, 2015, 5.3).

    A plain percentile interval of few blocks is too narrow, as if s had n in the denominator and the normal stood for Student's t;
    the tails are cut so that both are made good.
    """
    tail = normal_probability(math.sqrt(blocks / (blocks - 1)) * student_quantile((1.0 - level) / 2.0, blocks - 1))
    low, high = np.quantile(statistics, [tail, 1.0 - tail])
    return Interval(float(low), float(high), level, blocks)
