"""The Pareto frontier: the arms that no other arm beats in one metric without losing in another, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from mastery.lab.experiment import Better
from mastery.lab.signed_rank import Floats

RESAMPLES = 1_000


class Summary(StrEnum):
    """How the trials of an arm become one number: guardrails are never medians."""

    MEDIAN = "median"
    WORST = "worst"


@dataclass(frozen=True, slots=True)
class Objective:
    """One axis of the frontier."""

    better: str
    summary: Summary = Summary.MEDIAN


@dataclass(frozen=True, slots=True)
class Standing:
    """One arm's place: `share` of the resampled runs had it on the frontier; `dominated_by` are the arms that beat it here."""

    arm: int
    on_frontier: bool
    share: float
    dominated_by: tuple[int, ...]


def dominance(points: Floats, directions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """`[..., i, j]`: arm i beats arm j, being nowhere worse and somewhere better; `points` is ... x arm x metric.

    An arm that lacks a metric (NaN) neither beats nor is beaten.
    """
    signs = np.array([1.0 if Better(direction) is Better.LOWER else -1.0 for direction in directions])
    costs = points * signs
    ours, theirs = costs[..., :, np.newaxis, :], costs[..., np.newaxis, :, :]
    # A comparison with NaN is false, which makes "nowhere worse" false as well.
    return np.asarray((ours <= theirs).all(axis=-1) & (ours < theirs).any(axis=-1))


def frontier(points: Floats, directions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which arms are on the frontier; `points` is ... x arm x metric. An arm that lacks a metric is not on it."""
    beaten = dominance(points, directions).any(axis=-2)
    return np.asarray(~beaten & ~np.isnan(points).any(axis=-1))


def standings(by_block: Floats, objectives: Sequence[Objective], *, random: np.random.Generator) -> tuple[Standing, ...]:
    """Every arm's standing; `by_block` is block x arm x metric with NaN for missing trials.

    The share comes from resampling whole blocks, and is called that: it says how often a run like this one would put the arm
    on the frontier, not how probable it is that the arm belongs there.
    """
    directions = [objective.better for objective in objectives]
    points = _summarised(by_block[np.newaxis], objectives)[0]
    beats, on = dominance(points, directions), frontier(points, directions)
    blocks = by_block.shape[0]
    hits = np.zeros(by_block.shape[1])
    # In portions, so that a hundred arms in a hundred blocks do not ask for gigabytes.
    portion = max(1, 2_000_000 // max(1, by_block.size))
    for start in range(0, RESAMPLES, portion):
        drawn = random.integers(0, blocks, size=(min(portion, RESAMPLES - start), blocks))
        hits += frontier(_summarised(by_block[drawn], objectives), directions).sum(axis=0)
    return tuple(
        Standing(arm, bool(on[arm]), float(hits[arm]) / RESAMPLES, tuple(int(each) for each in np.flatnonzero(beats[:, arm])))
        for arm in range(by_block.shape[1])
    )


def _summarised(values: Floats, objectives: Sequence[Objective]) -> Floats:
    """One point an arm: resample x block x arm x metric becomes resample x arm x metric."""
    points = np.empty((values.shape[0], *values.shape[2:]))
    for index, objective in enumerate(objectives):
        metric = values[..., index]
        if objective.summary is Summary.MEDIAN:
            points[..., index] = _median(metric)
        elif Better(objective.better) is Better.LOWER:
            points[..., index] = np.fmax.reduce(metric, axis=1)
        else:
            points[..., index] = np.fmin.reduce(metric, axis=1)
    return points


def _median(metric: Floats) -> Floats:
    """The median over axis 1 without the missing values, NaN (and no warning) where nothing is left."""
    ascending = np.sort(metric, axis=1)  # NaN last
    present = (~np.isnan(metric)).sum(axis=1)
    low = np.maximum((present - 1) // 2, 0)[:, np.newaxis]
    high = np.minimum(present // 2, metric.shape[1] - 1)[:, np.newaxis]
    middle: Floats = (np.take_along_axis(ascending, low, axis=1) + np.take_along_axis(ascending, high, axis=1))[:, 0] / 2.0
    return middle
