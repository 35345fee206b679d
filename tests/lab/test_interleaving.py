"""Orders are counted, enumerated and sampled as combinatorics says."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.lab.interleaving import choose_orders, count_orders, every_order, order_at

small = st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(lambda lengths: sum(lengths) <= 7)


@given(small)
def test_every_order_is_the_set_of_distinct_permutations_once_each(lengths: list[int]) -> None:
    steps = [session for session, length in enumerate(lengths) for _ in range(length)]
    orders = list(every_order(lengths))
    assert orders == sorted(set(permutations(steps)))
    assert len(orders) == count_orders(lengths)


@given(small)
def test_a_rank_gives_the_order_at_that_place(lengths: list[int]) -> None:
    assert [order_at(lengths, rank) for rank in range(count_orders(lengths))] == list(every_order(lengths))


@pytest.mark.parametrize(("lengths", "count"), [((3, 3), 20), ((4, 4), 70), ((3, 3, 3), 1680), ((3, 3, 5), 9240)])
def test_the_number_of_orders_is_the_multinomial(lengths: tuple[int, ...], count: int) -> None:
    assert count_orders(lengths) == count


def test_orders_below_the_limit_are_all_tried() -> None:
    orders = choose_orders((3, 3), at_most=20)
    assert orders.complete
    assert len(orders.chosen) == orders.total == 20


def test_a_sample_has_no_order_twice_says_its_total_and_follows_from_the_seed() -> None:
    sample = choose_orders((3, 3, 3), at_most=300, seed=7)
    assert len(set(sample.chosen)) == 300
    assert sample.total == 1680
    assert not sample.complete
    assert set(sample.chosen) <= set(every_order((3, 3, 3)))
    assert sample == choose_orders((3, 3, 3), at_most=300, seed=7)
    assert sample != choose_orders((3, 3, 3), at_most=300, seed=8)


def test_a_sample_favours_no_order() -> None:
    times = dict.fromkeys(every_order((2, 2)), 0)
    for seed in range(3_000):
        for order in choose_orders((2, 2), at_most=3, seed=seed).chosen:
            times[order] += 1
    # Each of 6 orders is in a sample of 3 with probability 1/2: 1,500 times, with a standard deviation of 27.
    assert all(abs(count - 1_500) < 5 * 27.4 for count in times.values())


def test_a_huge_number_of_orders_is_sampled_without_listing_them() -> None:
    sample = choose_orders((12, 12, 12), at_most=5)
    assert sample.total > 10**15
    assert all(sorted(order) == [0] * 12 + [1] * 12 + [2] * 12 for order in sample.chosen)
