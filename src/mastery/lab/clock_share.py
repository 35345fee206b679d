"""How much of a latency is the clock itself: said where it shows, and no percentile where it would be a visible part of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from mastery.lab.document import AdviceRecord
from mastery.lab.histogram import Histogram, merge_all

# A latency below so many pairs of clock readings is shown with the clock's share; below so many it is not shown at all.
SHOWN_BELOW = 100.0
WITHHELD_BELOW = 20.0


def clock_share(noise: Mapping[str, Any], histograms: Iterable[Histogram]) -> float:
    """The cost of two clock readings as a share of the median latency; 0 where nothing was timed one by one (`Batched`)."""
    pooled = merge_all(histograms)
    pair_ns = float(noise.get("clock_pair_ns", 0.0))
    return min(1.0, pair_ns / max(1, pooled.percentile_ns(0.5))) if pooled.count else 0.0


def why_too_fine(share: float) -> str | None:
    """Why percentiles with this share of the clock are withheld; None where they may be shown."""
    if share <= 1.0 / WITHHELD_BELOW:
        return None
    return f"reading the clock is {share:.0%} of one operation; below {WITHHELD_BELOW:.0f} times its cost no percentile is shown"


def advise_on_clock_share(shares: Mapping[str, float]) -> AdviceRecord | None:
    """Says, for the arm (by label) in which it is greatest, how much of the latency is the clock's; None below one in a hundred."""
    fine = {label: share for label, share in shares.items() if share > 1.0 / SHOWN_BELOW}
    if not fine:
        return None
    worst = max(fine, key=lambda label: fine[label])
    more = f" ({len(fine)} arms have more than {1 / SHOWN_BELOW:.0%})" if len(fine) > 1 else ""
    return AdviceRecord(
        code="clock-share",
        text=f"Reading the clock is {fine[worst]:.1%} of one operation in {worst}{more}: its latencies are that much too long.",
        remedy="Let the experiment yield Batched(op, n), so that one reading covers n operations.",
    )
