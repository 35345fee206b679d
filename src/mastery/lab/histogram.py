"""Latencies as a histogram of nanoseconds with three significant digits, in the buckets of HdrHistogram.

Up to 2,047 ns every nanosecond has a bucket of its own; from there each doubling has 1,024 buckets, so that a bucket is never wider
than a thousandth of its values. Histograms of trials merge without loss, which percentiles do not.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mastery.errors import HostileImport

Integers = npt.NDArray[np.int64]

SIGNIFICANT_DIGITS = 3
_HALF_BITS = 10  # 2**10 buckets a doubling: the least power of two that keeps three digits
GREATEST_NS = 2**53 - 1  # 104 days; up to here a float counts nanoseconds exactly
_REMEDY = "Record it again: a histogram is written by the engine and not by hand."


def bucket_of(values_ns: Integers) -> Integers:
    """The index of each value's bucket, equal to HdrHistogram's counts index for lowest value 1 and three digits."""
    if values_ns.size and (int(values_ns.min()) < 0 or int(values_ns.max()) > GREATEST_NS):
        raise ValueError(f"durations of {int(values_ns.min())} to {int(values_ns.max())} ns lie outside 0 to {GREATEST_NS} ns")
    # frexp gives the bit length, exactly up to 2**53; the first two half-ranges have the width of one nanosecond.
    _, bits = np.frexp(values_ns.astype(np.float64))
    doubling = np.maximum(bits.astype(np.int64) - (_HALF_BITS + 1), 0)
    buckets: Integers = (doubling << _HALF_BITS) + (values_ns >> doubling)
    return buckets


def highest_of(buckets: Integers) -> Integers:
    """The greatest value that each bucket holds, in ns."""
    doubling = np.maximum((buckets >> _HALF_BITS) - 1, 0)
    highest: Integers = ((buckets - (doubling << _HALF_BITS) + 1) << doubling) - 1
    return highest


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts by bucket, sparse and rising; minimum, maximum and sum are exact."""

    buckets: Integers
    counts: Integers
    min_ns: int
    max_ns: int
    sum_ns: int

    @classmethod
    def from_samples(cls, samples_ns: Integers) -> "Histogram":
        """The histogram of durations in whole nanoseconds; an empty one is a histogram too."""
        if samples_ns.size == 0:
            return EMPTY
        buckets, counts = np.unique(bucket_of(samples_ns), return_counts=True)
        # A sum of int64 may wrap after 292 years of latency; Python's integers do not.
        total = int(samples_ns.sum()) if int(samples_ns.max()) < 2**62 // samples_ns.size else sum(samples_ns.tolist())
        return cls(buckets, counts.astype(np.int64), int(samples_ns.min()), int(samples_ns.max()), total)

    @property
    def count(self) -> int:
        """The number of samples."""
        return int(self.counts.sum())

    @property
    def mean_ns(self) -> float:
        """The exact mean; NaN when empty."""
        return self.sum_ns / self.count if self.count else math.nan

    def percentile_ns(self, quantile: float) -> int:
        """The least bucket bound that at least `quantile` (0 to 1) of the samples do not exceed, never above the maximum.

        At most a thousandth above the sample of that rank. An empty histogram has no percentile: ValueError.
        """
        if not 0.0 <= quantile <= 1.0 or self.count == 0:
            raise ValueError(f"no percentile at {quantile} of {self.count} samples")
        rank = rank_of(quantile, self.count)
        position = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(int(highest_of(self.buckets[position : position + 1])[0]), self.max_ns)

    def merge(self, *others: "Histogram") -> "Histogram":
        """The histogram of all samples together."""
        return merge_all((self, *others))

    def to_sparse(self) -> dict[str, Any]:
        """The form of the run document: plain integers, buckets as steps from the one before, so that JSON stays short."""
        steps = np.diff(self.buckets, prepend=0)
        return {
            "significant_digits": SIGNIFICANT_DIGITS,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            # The sum itself may pass 2**53, which canonical JSON cannot carry; the mean cannot.
            "mean_ns": self.mean_ns if self.count else 0.0,
            "bucket_steps": steps.tolist(),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_sparse(cls, sparse: Mapping[str, Any]) -> "Histogram":
        """Reads what `to_sparse` wrote; anything inconsistent raises `HostileImport`, since documents come from elsewhere."""
        try:
            form = msgspec.convert(sparse, _Sparse)
        except msgspec.ValidationError as error:
            raise HostileImport(f"This is not a histogram: {error}.", remedy=_REMEDY) from error
        if complaint := form.complaint():
            raise HostileImport(f"A histogram contradicts itself: {complaint}.", remedy=_REMEDY)
        if not form.counts:
            return EMPTY
        buckets, counts = (np.array(values, dtype=np.int64) for values in (form.bucket_steps, form.counts))
        return cls(np.cumsum(buckets), counts, form.min_ns, form.max_ns, round(form.mean_ns * sum(form.counts)))


_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=GREATEST_NS)]


class _Sparse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a document holds of a histogram."""

    significant_digits: Literal[3]
    min_ns: _Nanoseconds
    max_ns: _Nanoseconds
    mean_ns: float
    bucket_steps: list[_Nanoseconds]
    counts: list[Annotated[int, msgspec.Meta(ge=1, le=GREATEST_NS)]]

    def complaint(self) -> str | None:
        if len(self.bucket_steps) != len(self.counts):
            return f"it has {len(self.bucket_steps)} buckets and {len(self.counts)} counts"
        if not self.counts:
            return None
        if 0 in self.bucket_steps[1:] or sum(self.bucket_steps) > GREATEST_NS or sum(self.counts) > GREATEST_NS:
            return "its buckets do not rise, or hold more than can be counted"
        if not self.min_ns <= self.mean_ns <= self.max_ns:
            return f"its mean {self.mean_ns} ns lies outside {self.min_ns} to {self.max_ns} ns"
        ends = bucket_of(np.array([self.min_ns, self.max_ns], dtype=np.int64)).tolist()
        if [self.bucket_steps[0], sum(self.bucket_steps)] != ends:
            return f"its buckets do not run from {self.min_ns} to {self.max_ns} ns"
        return None


EMPTY = Histogram(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), 0, 0, 0)


def rank_of(quantile: float, count: int) -> int:
    """The rank of the sample that is the `quantile` of `count`, from 1: the least with rank/count >= quantile."""
    # 0.99 * 100 is 99 and a hair in floats; without the hair's allowance the rank would be the maximum's.
    return max(1, math.ceil(quantile * count - 1e-9 * max(1.0, quantile * count)))


def merge_all(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of all samples of all of them."""
    filled = [histogram for histogram in histograms if histogram.count]
    if not filled:
        return EMPTY
    buckets, where = np.unique(np.concatenate([each.buckets for each in filled]), return_inverse=True)
    counts = np.zeros(buckets.size, dtype=np.int64)
    np.add.at(counts, where, np.concatenate([each.counts for each in filled]))
    return Histogram(
        buckets,
        counts,
        min(each.min_ns for each in filled),
        max(each.max_ns for each in filled),
        sum(each.sum_ns for each in filled),
    )
