"""An axis: where a value lies between 0 and 1, and which round values are labelled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mastery.report import numbers


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled value on the axis; `at` is its place between 0 and 1."""

    at: float
    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis where everything is positive and spans enough, else a linear one that begins at zero."""

    low: float
    high: float
    is_log: bool
    unit: str

    def place(self, value: float) -> float:
        """Where the value lies: 0 at the left end, 1 at the right one, never outside."""
        if self.is_log:
            value = max(value, self.low)
            at = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            at = (value - self.low) / (self.high - self.low)
        return min(max(at, 0.0), 1.0)

    def value(self, at: float) -> float:
        """The value at a place between 0 and 1: the inverse of `place`."""
        if self.is_log:
            return float(self.low * (self.high / self.low) ** at)
        return self.low + at * (self.high - self.low)

    def ticks(self, most: int = 6) -> list[Tick]:
        """Round values inside the axis, at most about `most` of them."""
        values = _log_ticks(self.low, self.high, most) if self.is_log else _linear_ticks(self.low, self.high, most)
        return [Tick(self.place(value), numbers.quantity(value, self.unit), value) for value in values]


def axis_for(values: Sequence[float], unit: str) -> Axis:
    """The axis that holds all values with a little room on both sides."""
    assert values, "an axis needs a value"
    low, high = min(values), max(values)
    if low > 0:
        # At least a factor of two, so that a plot of equal arms does not magnify nothing into something.
        middle = math.sqrt(low * high)
        spread = max(math.sqrt(high / low) * 1.15, math.sqrt(2))
        return Axis(middle / spread, middle * spread, True, unit)
    reach = (high - min(low, 0.0)) or 1.0
    return Axis(min(low, 0.0) - 0.02 * reach, high + 0.08 * reach, False, unit)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    # The more decades, the fewer values of each: 1 2 5, then 1 3, then 1, then every other decade.
    ladders: list[Sequence[float]] = [(1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)]
    for mantissas in ladders:
        values = [m * 10.0**power for power in range(first, last + 1) for m in mantissas]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            return inside
    step = math.ceil((last - first + 1) / most)
    return [10.0**power for power in range(first, last + 1, step) if low <= 10.0**power <= high]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    start = math.ceil(low / step)
    return [index * step for index in range(start, math.floor(high / step) + 1)]
