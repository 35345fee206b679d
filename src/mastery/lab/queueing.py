"""What queueing theory says about a trial: Little's law as a check on the bookkeeping, M/M/1 as a known answer."""

import math
from dataclasses import dataclass

import numpy as np

from mastery.lab.distributions import student_quantile
from mastery.lab.signed_rank import Floats, Interval

LITTLE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class LittlesLaw:
    """L = lambda W over one trial: the operations counted in flight, and those that throughput and latency imply."""

    in_flight: float
    implied: float

    @property
    def gap(self) -> float:
        """How far the two lie apart, as a share of the greater; 0 where both are 0."""
        greater = max(self.in_flight, self.implied)
        return abs(self.in_flight - self.implied) / greater if greater > 0.0 else 0.0

    def holds(self, *, within: float = LITTLE_TOLERANCE) -> bool:
        """Whether the trial's figures belong together; where they do not, operations were lost or counted twice."""
        return self.gap <= within


def littles_law(*, in_flight: float, throughput_per_s: float, latency_mean_s: float) -> LittlesLaw:
    """Takes the time-average of operations in flight, the completions a second, and the mean time inside."""
    return LittlesLaw(in_flight, throughput_per_s * latency_mean_s)


@dataclass(frozen=True, slots=True)
class SingleServer:
    """The M/M/1 queue in steady state: Poisson arrivals, exponential service, one server, time inside = waiting + service."""

    arrivals_per_s: float
    services_per_s: float

    def __post_init__(self) -> None:
        if not 0.0 < self.arrivals_per_s < self.services_per_s:
            raise ValueError(
                f"{self.arrivals_per_s} arrivals a second at {self.services_per_s} services a second have no steady state"
            )

    @property
    def latency_mean_s(self) -> float:
        """1 / (mu - lambda)."""
        return 1.0 / (self.services_per_s - self.arrivals_per_s)

    def latency_s(self, quantile: float) -> float:
        """The time inside is exponential: -ln(1 - q) / (mu - lambda)."""
        return -math.log1p(-quantile) / (self.services_per_s - self.arrivals_per_s)


def batch_means(values: Floats, *, batches: int, level: float = 0.95) -> Interval:
    """An interval for the mean of correlated values in order of time (Law, Simulation Modeling and Analysis, 9.5.3).

    Neighbouring requests share the queue they stand in, so that their plain standard error is far too small;
    the means of long batches hardly depend on each other. What does not fill the last batch is left out.
    """
    length = values.size // batches
    if batches < 2 or length < 1:
        raise ValueError(f"{values.size} values do not make {batches} batches")
    means = values[: length * batches].reshape(batches, length).mean(axis=1)
    reach = student_quantile(0.5 + level / 2.0, batches - 1) * float(means.std(ddof=1)) / math.sqrt(batches)
    centre = float(np.mean(means))
    return Interval(centre - reach, centre + reach, level, batches)
