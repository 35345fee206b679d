"""Percentiles: who may show one, and whether the interval from resampled blocks covers the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from mastery.lab.histogram import EMPTY, Histogram, bucket_of, highest_of
from mastery.lab.percentiles import pooled_percentile, resampled_effect, samples_for, trial_percentile_ns

MILLISECOND = 1_000_000


def exponential(random: np.random.Generator, count: int, mean_ns: float = MILLISECOND) -> Histogram:
    return Histogram.from_samples(random.exponential(mean_ns, count).astype(np.int64))


@pytest.mark.parametrize(
    ("quantile", "samples"), [(0.5, 8), (0.9, 40), (0.95, 80), (0.99, 400), (0.999, 4_000), (0.9999, 40_000), (0.01, 400)]
)
def test_every_percentile_has_its_floor_of_samples(quantile: float, samples: int) -> None:
    assert samples_for(quantile) == samples


@pytest.mark.parametrize("quantile", [0.0, 1.0, -1.0, math.nan])
def test_minimum_and_maximum_are_no_percentiles(quantile: float) -> None:
    with pytest.raises(ValueError, match="strictly between"):
        samples_for(quantile)


def test_below_the_floor_no_percentile_is_shown() -> None:
    random = np.random.default_rng(1)
    assert trial_percentile_ns(exponential(random, 399), 0.99) is None
    assert trial_percentile_ns(exponential(random, 400), 0.99) is not None
    assert pooled_percentile([exponential(random, 39)] * 10, 0.99, random=random) is None
    assert pooled_percentile([exponential(random, 40)] * 10, 0.99, random=random) is not None


def test_the_percentile_shown_is_that_of_the_pooled_samples() -> None:
    fast, slow = Histogram.from_samples(np.full(900, 100)), Histogram.from_samples(np.full(100, 1_000))
    found = pooled_percentile([fast, slow], 0.95, random=np.random.default_rng(1))
    assert found is not None
    # Averaged over the two trials it would have been 550.
    assert (found.value_ns, found.samples, found.blocks, found.interval) == (1_000, 1_000, 2, None)


def test_a_void_block_is_left_out() -> None:
    random = np.random.default_rng(1)
    found = pooled_percentile([EMPTY, *(exponential(random, 100) for _ in range(6))], 0.5, random=random)
    assert found is not None
    assert (found.blocks, found.interval is not None) == (6, True)


def test_the_same_generator_gives_the_same_interval() -> None:
    blocks = [exponential(np.random.default_rng(seed), 100) for seed in range(8)]
    one, other = (pooled_percentile(blocks, 0.9, random=np.random.default_rng(7)) for _ in range(2))
    assert one == other
    assert pooled_percentile(blocks, 0.9, random=np.random.default_rng(8)) != one


def test_equal_blocks_have_an_interval_of_one_point() -> None:
    block = exponential(np.random.default_rng(1), 1_000)
    found = pooled_percentile([block] * 8, 0.99, random=np.random.default_rng(1))
    assert found is not None
    assert found.interval is not None
    assert found.interval.low == pytest.approx(found.value_ns, rel=0.001)
    assert found.interval.high == pytest.approx(found.value_ns, rel=0.001)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_interval_equals_that_of_sorting_all_samples_of_every_resample(quantile: float) -> None:
    """The dumb twin: the resamples are drawn again from the same seed, and each is pooled and sorted."""
    samples = [np.random.default_rng(seed).exponential(MILLISECOND * 3.0**seed, 60).astype(np.int64) for seed in range(7)]
    found = pooled_percentile([Histogram.from_samples(each) for each in samples], quantile, random=np.random.default_rng(3))
    assert found is not None
    assert found.interval is not None
    resampled = []
    for draw in np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=2_000):
        pooled = np.concatenate([np.tile(each, times) for each, times in zip(samples, draw, strict=True)])
        resampled.append(np.quantile(pooled, quantile, method="inverted_cdf").astype(np.int64))
    logs = np.log(highest_of(bucket_of(np.array(resampled))))
    # Hesterberg's tail for seven blocks: Phi(sqrt(7/6) t), t of six degrees at 2.5 %.
    tail = stats.norm.cdf(math.sqrt(7 / 6) * stats.t.ppf(0.025, 6))
    low, high = np.exp(np.quantile(logs, [tail, 1.0 - tail]))
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


@pytest.mark.parametrize(("blocks", "quantile", "samples"), [(8, 0.5, 100), (12, 0.99, 200), (20, 0.99, 100)])
def test_pooled_percentiles_cover_the_truth(blocks: int, quantile: float, samples: int) -> None:
    random = np.random.default_rng(blocks)
    truth = float(np.quantile(np.exp(random.normal(0, 0.1, 10**6)) * random.exponential(MILLISECOND, 10**6), quantile))
    covered, runs = 0, 300
    for _ in range(runs):
        arm = [exponential(random, samples, MILLISECOND * math.exp(random.normal(0, 0.1))) for _ in range(blocks)]
        found = pooled_percentile(arm, quantile, random=random)
        assert found is not None
        assert found.interval is not None
        covered += not found.interval.excludes(truth)
    # Resampling few blocks covers a little less than it says; 0.90 is what this form of it keeps.
    assert 0.90 <= covered / runs < 1.0


def test_the_effect_on_a_percentile_covers_the_true_ratio_although_no_trial_has_one_of_its_own() -> None:
    random = np.random.default_rng(9)
    covered, runs, blocks = 0, 300, 10
    for _ in range(runs):
        levels = MILLISECOND * np.exp(random.normal(0, 0.3, blocks))
        arm = [exponential(random, 100, 2.0 * level) for level in levels]
        base = [exponential(random, 100, level) for level in levels]
        assert trial_percentile_ns(arm[0], 0.99) is None
        found = resampled_effect(arm, base, 0.99, random=random)
        assert found is not None
        assert found.interval is not None
        covered += not found.interval.excludes(2.0)
    assert 0.90 <= covered / runs < 1.0


def test_an_effect_pairs_only_blocks_in_which_both_arms_ran() -> None:
    random = np.random.default_rng(2)
    arm = [exponential(random, 50) for _ in range(8)]
    base = [EMPTY, *(exponential(random, 50) for _ in range(7))]
    found = resampled_effect(arm, base, 0.5, random=random)
    assert found is not None
    assert found.blocks == 7


def test_an_effect_without_enough_samples_or_blocks_says_so() -> None:
    random = np.random.default_rng(2)
    few = [exponential(random, 100) for _ in range(3)]
    assert resampled_effect(few, few, 0.99, random=random) is None
    found = resampled_effect(few, few, 0.9, random=random)
    assert found is not None
    assert (found.ratio, found.interval) == (1.0, None)
