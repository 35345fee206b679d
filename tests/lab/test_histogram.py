"""Histograms against HdrHistogram, against the samples themselves, and against hostile documents."""

import json
import math
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from mastery.errors import HostileImport
from mastery.lab.histogram import EMPTY, GREATEST_NS, Histogram, bucket_of, highest_of, merge_all, rank_of

DURATIONS = st.one_of(st.integers(0, 5_000), st.integers(0, 10**9), st.integers(0, GREATEST_NS))
SAMPLES = st.lists(DURATIONS, min_size=1, max_size=200)
QUANTILES = st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0])


def array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def histogram(values: list[int]) -> Histogram:
    return Histogram.from_samples(array(values))


def same(one: Histogram, other: Histogram) -> bool:
    return one.to_sparse() == other.to_sparse()


@given(SAMPLES)
def test_buckets_and_their_bounds_are_those_of_hdrhistogram(values: list[int]) -> None:
    hdr = pytest.importorskip("hdrh.histogram").HdrHistogram(1, GREATEST_NS, 3)
    ours = bucket_of(array(values))
    assert ours.tolist() == [hdr._counts_index_for(value) for value in values]
    assert highest_of(ours).tolist() == [hdr.get_highest_equivalent_value(value) for value in values]


@given(SAMPLES, st.sampled_from([1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_those_of_hdrhistogram_up_to_the_maximum(values: list[int], percentile: float) -> None:
    hdr = pytest.importorskip("hdrh.histogram").HdrHistogram(1, GREATEST_NS, 3)
    for value in values:
        assert hdr.record_value(value)
    theirs = hdr.get_value_at_percentile(percentile)
    # Half a sample is where the two round a rank differently: theirs to the nearest, ours up.
    ranks = {rank_of(percentile / 100.0, len(values)), max(1, int(percentile / 100.0 * len(values) + 0.5))}
    ours = sorted(values)
    expected = {int(highest_of(bucket_of(array([ours[rank - 1]])))[0]) for rank in ranks}
    assert theirs in expected
    assert histogram(values).percentile_ns(percentile / 100.0) in {min(each, max(values)) for each in expected}


@given(SAMPLES, QUANTILES)
def test_a_percentile_is_at_most_a_thousandth_above_the_sample_of_its_rank(values: list[int], quantile: float) -> None:
    exact = sorted(values)[rank_of(quantile, len(values)) - 1]
    shown = histogram(values).percentile_ns(quantile)
    assert exact <= shown <= exact * 1.001


def test_a_million_samples_keep_every_percentile_within_a_thousandth() -> None:
    samples = np.random.default_rng(1).lognormal(13.0, 1.5, 1_000_000).astype(np.int64)
    found = Histogram.from_samples(samples)
    for quantile in (0.5, 0.9, 0.99, 0.999, 0.9999):
        exact = np.quantile(samples, quantile, method="inverted_cdf")
        assert found.percentile_ns(quantile) == pytest.approx(exact, rel=0.001)
    assert (found.count, found.mean_ns) == (1_000_000, pytest.approx(samples.mean()))


@given(st.lists(SAMPLES, max_size=5))
def test_merging_loses_nothing(parts: list[list[int]]) -> None:
    together = [value for part in parts for value in part]
    assert same(merge_all([histogram(part) for part in parts]), histogram(together))


def test_merging_with_nothing_changes_nothing() -> None:
    found = histogram([5, 7])
    assert same(found.merge(EMPTY), found)
    assert merge_all([]) is EMPTY
    assert found.merge(histogram([5])).counts.tolist() == [2, 1]


@given(SAMPLES)
def test_a_histogram_survives_the_canonical_json_of_the_run_document(values: list[int]) -> None:
    found = histogram(values)
    again = Histogram.from_sparse(json.loads(rfc8785.dumps(found.to_sparse())))
    assert (again.buckets.tolist(), again.counts.tolist()) == (found.buckets.tolist(), found.counts.tolist())
    assert (again.min_ns, again.max_ns) == (found.min_ns, found.max_ns)
    assert again.sum_ns == pytest.approx(found.sum_ns, rel=1e-12)


def test_the_empty_histogram_is_written_and_read_and_has_no_percentile() -> None:
    assert same(Histogram.from_sparse(EMPTY.to_sparse()), EMPTY)
    assert (EMPTY.count, math.isnan(EMPTY.mean_ns)) == (0, True)
    with pytest.raises(ValueError, match="of 0 samples"):
        EMPTY.percentile_ns(0.5)


def test_sums_beyond_64_bits_stay_exact() -> None:
    values = [GREATEST_NS] * 1_100
    assert histogram(values).sum_ns == 1_100 * GREATEST_NS > 2**63


@pytest.mark.parametrize("values", [[-1, 5], [GREATEST_NS + 1]])
def test_durations_that_no_clock_shows_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="outside 0 to"):
        histogram(values)


@pytest.mark.parametrize("quantile", [-0.1, 1.1, math.nan])
def test_a_percentile_outside_the_whole_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        histogram([1]).percentile_ns(quantile)


def test_the_rank_of_a_round_percentile_is_not_one_too_high() -> None:
    assert rank_of(0.99, 100) == 99
    assert rank_of(0.07, 100) == 7
    assert rank_of(0.0, 10) == 1
    assert rank_of(0.991, 100) == 100


@pytest.mark.parametrize(
    "change",
    [
        {"significant_digits": 2},
        {"counts": [1]},
        {"counts": [1, 0]},
        {"counts": [1, -4]},
        {"counts": [1, True]},
        {"counts": [1, 2**60]},
        {"counts": "many"},
        {"bucket_steps": [5, 0]},
        {"bucket_steps": [4, 3]},
        {"bucket_steps": [5, 2**60]},
        {"bucket_steps": None},
        {"min_ns": -5},
        {"min_ns": 8, "max_ns": 5},
        {"max_ns": 2**60},
        {"mean_ns": 100.0},
        {"mean_ns": math.nan},
        {"mean_ns": "7"},
        {"surprise": 1},
    ],
)
def test_a_histogram_that_contradicts_itself_is_refused_with_a_remedy(change: dict[str, Any]) -> None:
    sparse = histogram([5, 7, 7]).to_sparse()
    assert sparse["counts"] == [1, 2]
    with pytest.raises(HostileImport) as refusal:
        Histogram.from_sparse(sparse | change)
    assert refusal.value.remedy


def test_a_histogram_without_one_of_its_parts_is_refused() -> None:
    sparse = histogram([5, 7, 7]).to_sparse()
    for name in sparse:
        with pytest.raises(HostileImport):
            Histogram.from_sparse({key: value for key, value in sparse.items() if key != name})
