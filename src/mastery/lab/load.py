"""How an operation is driven: closed (the next one after the answer) or open (by a schedule that does not wait)."""

from dataclasses import dataclass
from enum import StrEnum


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

    @property
    def loaders(self) -> int:
        return self.processes or self.threads


Load = Closed | Open
