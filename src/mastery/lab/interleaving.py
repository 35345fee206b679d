"""The orders in which the steps of several sessions can follow one another: counted, enumerated, or sampled by seed.

An order is a tuple of session numbers: (0, 1, 0) runs the first step of session 0, the first of 1, the second of 0.
There are (n0 + n1 + ...)! / (n0! n1! ...) of them; each has a rank, so a sample without replacement is a sample of
ranks and needs no list of all orders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial, prod
from random import Random

Order = tuple[int, ...]


def count_orders(lengths: Sequence[int]) -> int:
    """How many orders sessions with so many steps each have (the multinomial coefficient)."""
    return factorial(sum(lengths)) // prod(factorial(each) for each in lengths)


def every_order(lengths: Sequence[int]) -> Iterator[Order]:
    """All orders, lexicographically; `order_at` gives them in the same sequence."""
    order = [session for session, length in enumerate(lengths) for _ in range(length)]
    while True:
        yield tuple(order)
        # The next permutation of a multiset: the last ascent, swapped with the last greater element, the rest turned round.
        ascent = next((place for place in range(len(order) - 2, -1, -1) if order[place] < order[place + 1]), None)
        if ascent is None:
            return
        greater = next(place for place in range(len(order) - 1, ascent, -1) if order[place] > order[ascent])
        order[ascent], order[greater] = order[greater], order[ascent]
        order[ascent + 1 :] = reversed(order[ascent + 1 :])


def order_at(lengths: Sequence[int], rank: int) -> Order:
    """The order with this rank, 0 <= rank < count_orders(lengths)."""
    left = list(lengths)
    assert 0 <= rank < count_orders(left), "a rank lies below the number of orders"
    order: list[int] = []
    while len(order) < sum(lengths):
        for session, steps in enumerate(left):
            if not steps:
                continue
            left[session] -= 1
            orders_that_begin_so = count_orders(left)
            if rank < orders_that_begin_so:
                order.append(session)
                break
            rank -= orders_that_begin_so
            left[session] += 1
    return tuple(order)


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders to try, and how many there are: absence of an anomaly among some is not absence among all."""

    chosen: tuple[Order, ...]
    total: int

    @property
    def complete(self) -> bool:
        return len(self.chosen) == self.total


def choose_orders(lengths: Sequence[int], *, at_most: int | None = None, seed: int = 0) -> Orders:
    """All orders when there are at most `at_most` of them (or no limit), else a uniform sample without replacement."""
    total = count_orders(lengths)
    if at_most is None or total <= at_most:
        return Orders(tuple(every_order(lengths)), total)
    random, ranks = Random(seed), set[int]()
    while len(ranks) < at_most:
        ranks.add(random.randrange(total))
    return Orders(tuple(order_at(lengths, rank) for rank in sorted(ranks)), total)
