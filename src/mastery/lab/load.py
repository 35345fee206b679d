"""How an operation is driven: closed (the next one after the answer) or open (by a schedule that does not wait)."""

from dataclasses import dataclass
from enum import StrEnum

from mastery.errors import BrokenExperiment

MOST_OF_CAPACITY = 0.8


class Arrivals(StrEnum):
    """The spacing of an open loop's intended starts."""

    POISSON = "poisson"
    REGULAR = "regular"


@dataclass(frozen=True, slots=True)
class Closed:
    """Each of `threads` (or `processes`) starts its next operation when the last has answered.

    Threads share one interpreter: use them where waiting releases it (a flush, a socket), and processes where the
    operation computes. `operations` ends a trial by count instead of by time.
    """

    threads: int = 1
    processes: int = 0
    operations: int | None = None

    def __post_init__(self) -> None:
        _check_loaders(self.threads, self.processes)

    @property
    def loaders(self) -> int:
        return self.processes or self.threads


@dataclass(frozen=True, slots=True)
class Open:
    """Operations start at intended times, `rate` a second in all; latency counts from the intended start.

    With `of_capacity` the rate is that fraction of the capacity which a ramp finds first (the same absolute rate for all
    arms: the least capacity of any arm; or each arm's own with `own_capacity`): two different questions.
    """

    rate: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON
    threads: int = 1
    processes: int = 0
    of_capacity: float | None = None
    own_capacity: bool = False
    # Only an experiment about collapse offers more than four fifths of what the system can do.
    collapse: bool = False

    def __post_init__(self) -> None:
        _check_loaders(self.threads, self.processes)
        if (self.of_capacity is None) == (self.rate <= 0):
            raise BrokenExperiment(
                f"An open load needs a rate above 0 or a share of capacity, and not both: rate={self.rate}, "
                f"of_capacity={self.of_capacity}.",
                remedy="Write Open(rate=200) or Open(of_capacity=0.6).",
            )
        if self.of_capacity is not None and not self.collapse and not 0 < self.of_capacity <= MOST_OF_CAPACITY:
            raise BrokenExperiment(
                f"An open load at {self.of_capacity:.0%} of capacity shows the queue, not the system.",
                remedy=f"Offer at most {MOST_OF_CAPACITY:.0%}, or say collapse=True where collapse is the question.",
            )

    @property
    def saturating(self) -> Closed:
        """The closed load of the same loaders: what they can push through at the most."""
        return Closed(threads=self.threads, processes=self.processes)

    @property
    def loaders(self) -> int:
        return self.processes or self.threads


Load = Closed | Open


def _check_loaders(threads: int, processes: int) -> None:
    if threads < 1 or processes < 0:
        raise BrokenExperiment(
            f"A load needs at least one loader, not {threads} threads and {processes} processes.",
            remedy="Write threads=n, or processes=n.",
        )
