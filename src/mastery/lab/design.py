"""Randomised complete blocks: in each block every arm runs once, in an order drawn from the seed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

# How many random orders are drawn for each block; the one whose neighbours are the least worn is taken.
CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class Slot:
    """What runs at one place of a block: an arm, the baseline once more (A/A), or a reference tool on an arm."""

    arm: int
    placebo: bool = False
    reference: str | None = None


def lay_blocks(slots: Sequence[Slot], *, seed: int) -> Iterator[tuple[Slot, ...]]:
    """Endless blocks. Each is a random order of all slots, balanced for the predecessor.

    What a trial leaves behind (dirty pages, an SSD's own cache, heat) falls on its successor, so no slot should follow
    the same other one much more often than chance: of several random orders the one with the least repeated pairs wins.
    """
    rng = Random(seed)
    followed: Counter[tuple[Slot | None, Slot]] = Counter()
    last: Slot | None = None
    while True:
        orders = [tuple(rng.sample(slots, len(slots))) for _ in range(CANDIDATES)]
        order = min(orders, key=lambda each: _wear(each, last, followed))
        followed.update(_pairs(order, last))
        last = order[-1]
        yield order


def _pairs(order: tuple[Slot, ...], last: Slot | None) -> list[tuple[Slot | None, Slot]]:
    return list(zip((last, *order[:-1]), order, strict=True))


def _wear(order: tuple[Slot, ...], last: Slot | None, followed: Counter[tuple[Slot | None, Slot]]) -> int:
    return sum(followed[pair] for pair in _pairs(order, last))
