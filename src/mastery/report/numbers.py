"""Figures as a reader wants them: two or three significant digits, the unit beside them, ratios as "14 times"."""

import math

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((1024.0**4, "TiB"), (1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B"))
_LADDERS = {"s": _TIMES, "B": _BYTES}
_PERCENT = frozenset({"share", "%"})
# Units that are measured rather than counted: their figures are rounded, never shown digit by digit.
_CONTINUOUS = frozenset({"s", "B", "op/s", "share", "%", "ratio", "B/s", "bit/s"})


def significant(value: float, digits: int = 3) -> str:
    """`1061.3` -> `1,060`, `0.07144` -> `0.0714`, `1.20` -> `1.2`; never an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    # Rounding can add a digit (9.996 -> 10.0); the number of places then follows the new one.
    places = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    text = f"{rounded:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float, unit: str) -> str:
    """A figure with its unit: `quantity(0.000312, "s")` -> `312 µs`; counts stay exact."""
    if _is_count(value, unit):
        return f"{int(value):,}{_space(unit)}{plural(unit, value)}".rstrip()
    factor, symbol = _step(value, unit)
    return f"{significant(value / factor)}{_space(symbol)}{plural(symbol, value)}".rstrip()


def span(low: float, high: float, unit: str) -> str:
    """An interval in one unit: `298 to 331 µs`; as few digits as tell its ends apart."""
    if _is_count(low, unit) and _is_count(high, unit):
        return f"{int(low):,} to {int(high):,} {plural(unit, high)}".rstrip()
    factor, symbol = _step(high, unit)
    return f"{_two(low / factor, high / factor)}{_space(symbol)}{symbol}".rstrip()


def with_span(value: float, low: float | None, high: float | None, unit: str) -> str:
    """`312 µs (298 to 331)`: the interval in the unit of the figure; the figure alone where there is no interval."""
    if low is None or high is None:
        return quantity(value, unit)
    if _is_count(value, unit):
        return f"{quantity(value, unit)} ({_two(low, high)})"
    factor, _ = _step(value, unit)
    return f"{quantity(value, unit)} ({_two(low / factor, high / factor)})"


def ratio(value: float) -> str:
    """A ratio in two digits, three from a hundred on and around 1: `14`, `2.3`, `0.071`, `142`, `1.02`."""
    return significant(value, _ratio_digits(value))


def ratio_with_span(value: float, low: float | None, high: float | None) -> str:
    """`14 (12 to 17)`."""
    return ratio(value) if low is None or high is None else f"{ratio(value)} ({_two(low, high, _ratio_digits(value))})"


def against(value: float, low: float | None, high: float | None) -> str:
    """A ratio for a narrow column: `× 2.1 (0.82 to 4.9)`, `÷ 929 (304 to 1,770)` where it is surely far below 1."""
    if 0 < value < 0.5 and (high is None or high < 1) and (low is None or low > 0):
        ends = (None, None) if low is None or high is None else (1 / high, 1 / low)
        return f"÷ {ratio_with_span(1 / value, *ends)}"
    return f"× {ratio_with_span(value, low, high)}"


def times(value: float) -> str:
    """How far a ratio lies from 1, in words: `14 times higher`, `14 times lower`, `23 % higher`, `the same`."""
    if value <= 0:
        return "zero"
    size, word = (value, "higher") if value >= 1 else (1 / value, "lower")
    if size >= 1.95:
        return f"{ratio(size)} times {word}"
    share = abs(value - 1) * 100
    return f"{significant(share, 2)} % {word}" if share >= 0.1 else "the same"


def times_span(value: float, low: float, high: float) -> str:
    """The interval that goes with `times(value)`, in the same direction: `12 to 17 times`, `-3 % to +12 %`."""
    if (value >= 1.95 or value <= 1 / 1.95) and low > 0:
        ends = (low, high) if value >= 1 else (1 / high, 1 / low)
        return f"{_two(*ends, least=_ratio_digits(ends[1]))} times"
    return f"{_signed(low)} to {_signed(high)}"


def share(value: float) -> str:
    """`0.137` -> `14 %`."""
    return f"{significant(value * 100, 2)} %"


def seconds(value: float) -> str:
    """A length of time that a person waits: `8 s`, `1 min 20 s`, `2 h 5 min`."""
    whole = round(value)
    if whole < 1:
        return "under 1 s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def counted(number: int, noun: str) -> str:
    """`1 block`, `24 blocks`."""
    return f"{number:,} {noun if number == 1 else _plural_of(noun)}"


def plural(unit: str, number: float) -> str:
    """A unit as it stands after the number: words have a plural (`records`), symbols (`ms`, `op/s`) stay as they are."""
    return _plural_of(unit) if is_noun(unit) and number != 1 else unit


def is_noun(unit: str) -> bool:
    """Whether a unit is a word for what is counted (`record`) rather than a symbol (`ms`, `op/s`)."""
    return len(unit) >= 4 and unit.replace(" ", "").isalpha()


def _plural_of(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun if noun.endswith("s") else noun + "s"


def axis_step(value: float, unit: str) -> tuple[float, str]:
    """The factor and symbol in which an axis is best labelled around this value."""
    return _step(value, unit)


def _step(value: float, unit: str) -> tuple[float, str]:
    if unit in _PERCENT:
        return (0.01 if unit == "share" else 1.0), "%"
    ladder = _LADDERS.get(unit)
    if ladder is None:
        return 1.0, "" if unit in {"ratio", "1"} else unit
    if value == 0:
        return (1.0, unit)
    # 0.9995 of a step reads as 1,000 of the one below after rounding.
    return next((step for step in ladder if abs(value) >= step[0] * 0.9995), ladder[-1])


def _is_count(value: float, unit: str) -> bool:
    return unit not in _CONTINUOUS and float(value).is_integer() and abs(value) < 1e15


def _space(symbol: str) -> str:
    return " " if symbol else ""


def _two(low: float, high: float, least: int = 3) -> str:
    """Both ends in at least as many digits as the figure between them, so that rounding never puts it outside."""
    digits = least
    while digits < 5 and significant(low, digits) == significant(high, digits):
        digits += 1
    return f"{significant(low, digits)} to {significant(high, digits)}"


def _ratio_digits(value: float) -> int:
    return 3 if abs(value) >= 100 or 0.5 < value < 2 else 2


def _signed(value: float) -> str:
    percent = (value - 1) * 100
    return f"{'+' if percent >= 0 else '−'}{significant(abs(percent), 2)} %"
