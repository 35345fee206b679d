"""Quantiles and probabilities of the few distributions that our intervals rest on, without a statistics library."""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


def normal_quantile(probability: float) -> float:
    """The standard normal's value with `probability` of its mass below it; 0 < probability < 1."""
    return _STANDARD_NORMAL.inv_cdf(probability)


def normal_probability(value: float) -> float:
    """The share of the standard normal's mass below `value`."""
    return _STANDARD_NORMAL.cdf(value)


def beta_probability(value: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_value(a, b); DLMF 8.17.22, continued fraction by the modified Lentz method."""
    if value <= 0.0:
        return 0.0
    if value >= 1.0:
        return 1.0
    # The fraction converges fast only below the mean; above it the symmetry I_x(a, b) = 1 - I_{1-x}(b, a) helps.
    if value > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_probability(1.0 - value, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(value) + b * math.log1p(-value)
    return math.exp(log_front) * _beta_fraction(value, a, b) / a


def _beta_fraction(value: float, a: float, b: float) -> float:
    tiny = 1e-300  # Lentz: a zero denominator is replaced by something harmless
    c = 1.0
    d = 1.0 / _nonzero(1.0 - (a + b) * value / (a + 1.0), tiny)
    fraction = d
    # The number of terms grows with the root of the larger parameter; 10,000 serve parameters up to a million.
    for step in range(1, 10_000):
        even = step * (b - step) * value / ((a + 2 * step - 1.0) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * value / ((a + 2 * step) * (a + 2 * step + 1.0))
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d, tiny)
            c = _nonzero(1.0 + term / c, tiny)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return fraction


def _nonzero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _bisect(probability_at: Callable[[float], float], probability: float, *, low: float, high: float) -> float:
    """The point where a rising function reaches `probability`, to the last bit that halving can give."""
    while True:
        middle = (low + high) / 2.0
        if middle in (low, high):
            return middle
        if probability_at(middle) < probability:
            low = middle
        else:
            high = middle


@lru_cache(maxsize=1024)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """The value in [0, 1] with `probability` of Beta(a, b)'s mass below it."""
    return _bisect(lambda value: beta_probability(value, a, b), probability, low=0.0, high=1.0)


def student_probability(value: float, degrees: float) -> float:
    """The share of Student's t with `degrees` of freedom below `value`."""
    square = value * value
    if square < degrees:
        # Around zero the tail is one half to the last bit; what lies between zero and the value keeps its digits.
        inside = 0.5 * beta_probability(square / (degrees + square), 0.5, degrees / 2.0)
        return 0.5 + math.copysign(inside, value)
    tail = 0.5 * beta_probability(degrees / (degrees + square), degrees / 2.0, 0.5)
    return 1.0 - tail if value > 0.0 else tail


@lru_cache(maxsize=1024)
def student_quantile(probability: float, degrees: float) -> float:
    """Student's t value with `probability` of the mass below it; 0 < probability < 1, `degrees` > 0."""
    if not 0.0 < probability < 1.0 or degrees <= 0.0:
        raise ValueError(f"no quantile at probability {probability} with {degrees} degrees of freedom")
    if probability == 0.5:
        return 0.0
    # The lower tail keeps its digits where 1 - tail would have lost them.
    tail = min(probability, 1.0 - probability)
    low = -1.0
    while student_probability(low, degrees) > tail:
        low *= 2.0
    value = _bisect(lambda at: student_probability(at, degrees), tail, low=low, high=0.0)
    return value if probability < 0.5 else -value


@lru_cache(maxsize=4096)
def coin_probability(heads: int, tosses: int) -> float:
    """The probability of at most `heads` heads in `tosses` of a fair coin, exact in integers until the last division."""
    if heads < 0:
        return 0.0
    patterns: int = sum(math.comb(tosses, count) for count in range(min(heads, tosses) + 1))
    return float(patterns / 2**tosses)
