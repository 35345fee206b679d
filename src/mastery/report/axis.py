"""An axis: where a value lies between 0 and 1, and which round values are labelled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mastery.report import numbers

# From how many on counts are shown on a log scale with a zero: below it a linear one tells them apart.
_MANY = 20


class Scale(StrEnum):
    """How values are spread; `SYMLOG` is a log scale of 1 + value, which has a place for zero."""

    LOG = "log scale"
    SYMLOG = "log scale with a zero"
    LINEAR = "linear scale"


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled value on the axis; `at` is its place between 0 and 1."""

    at: float
    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Axis:
    """The values from `low` to `high` on one scale, in one unit."""

    low: float
    high: float
    scale: Scale
    unit: str

    def place(self, value: float) -> float:
        """Where the value lies: 0 at the left end, 1 at the right one, never outside."""
        low, high, inner = (self._spread(each) for each in (self.low, self.high, max(value, self.low)))
        return min(max((inner - low) / (high - low), 0.0), 1.0)

    def value(self, at: float) -> float:
        """The value at a place between 0 and 1: the inverse of `place`."""
        low, high = self._spread(self.low), self._spread(self.high)
        inner = low + at * (high - low)
        match self.scale:
            case Scale.LOG:
                return math.exp(inner)
            case Scale.SYMLOG:
                return math.expm1(inner)
            case Scale.LINEAR:
                return inner

    def ticks(self, most: int = 6) -> list[Tick]:
        """Round values inside the axis, at most about `most` of them."""
        match self.scale:
            case Scale.LOG:
                values = _log_ticks(self.low, self.high, most)
            case Scale.SYMLOG:
                values = [0.0, *_log_ticks(1.0, self.high, most - 1)]
            case Scale.LINEAR:
                values = _linear_ticks(self.low, self.high, most)
        # What is counted stands in the axis's title; a symbol is needed beside each value, for it changes along the axis.
        unit = "" if numbers.is_noun(self.unit) else self.unit
        return [Tick(self.place(value), numbers.quantity(value, unit), value) for value in values]

    def _spread(self, value: float) -> float:
        match self.scale:
            case Scale.LOG:
                return math.log(value)
            case Scale.SYMLOG:
                return math.log1p(value)
            case Scale.LINEAR:
                return value


def axis_for(values: Sequence[float], unit: str) -> Axis:
    """The axis that holds all values with a little room on both sides."""
    assert values, "an axis needs a value"
    low, high = min(values), max(values)
    if low > 0:
        # At least a factor of two, so that a plot of equal arms does not magnify nothing into something.
        # In logarithms, where even the ends of floating point leave room.
        middle, half = (math.log(low) + math.log(high)) / 2, (math.log(high) - math.log(low)) / 2
        spread = max(half + 0.14, math.log(2) / 2)
        return Axis(math.exp(max(middle - spread, -700.0)), math.exp(min(middle + spread, 700.0)), Scale.LOG, unit)
    if low == 0 and high >= _MANY:
        return Axis(0.0, high * 1.2, Scale.SYMLOG, unit)
    reach = (high - min(low, 0.0)) or 1.0
    return Axis(min(low, 0.0) - 0.02 * reach, high + 0.08 * reach, Scale.LINEAR, unit)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    # The more decades, the fewer values of each: 1 2 5, then 1 3, then 1, then every other decade.
    ladders: list[Sequence[float]] = [(1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)]
    for mantissas in ladders:
        values = [m * 10.0**power for power in range(first, last + 1) for m in mantissas]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            return inside
    step = math.ceil((last - first + 1) / max(most, 1))
    return [10.0**power for power in range(first, last + 1, step) if low <= 10.0**power <= high]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    start = math.ceil(low / step)
    return [index * step for index in range(start, math.floor(high / step) + 1)]
