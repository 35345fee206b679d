"""The link as pure arithmetic: every clock reading and every throw of the dice is given."""

import random
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.link import Link, Wire
from mastery.errors import UsageError

gaps = st.lists(st.tuples(st.floats(0, 0.05), st.integers(60, 1514)), min_size=1, max_size=60)
links = st.builds(
    Link,
    delay_s=st.floats(0, 0.2),
    loss=st.floats(0, 1),
    rate_bit_s=st.none() | st.floats(1e5, 1e9),
    queue_byte=st.integers(1600, 20_000),
)


class Dice(random.Random):
    """Throws what it was told, in turn, then never loses."""

    def __init__(self, *throws: float) -> None:
        super().__init__(0)
        self._throws = list(throws)

    def random(self) -> float:
        return self._throws.pop(0) if self._throws else 0.999


def wire(link: Link, *throws: float) -> Wire:
    return Wire(link, Dice(*throws))


def all_arrivals(wire: Wire) -> list[tuple[float, bytes]]:
    """Takes each frame at the very moment it is due."""
    taken: list[tuple[float, bytes]] = []
    while (due_s := wire.next_due_s()) is not None:
        taken.extend((due_s, frame) for frame in wire.arrivals(due_s))
    return taken


def test_a_frame_arrives_after_the_delay_and_not_before() -> None:
    delayed = wire(Link(delay_s=0.025))
    delayed.offer(b"x" * 100, 1.0)
    assert delayed.arrivals(1.0249) == []
    assert delayed.arrivals(1.0251) == [b"x" * 100]
    assert delayed.next_due_s() is None


def test_the_rate_spaces_frames_by_their_size() -> None:
    paced = wire(Link(rate_bit_s=8000, delay_s=0.5))
    for size in (100, 200, 300):
        paced.offer(b"x" * size, 0.0)
    assert [due_s for due_s, _ in all_arrivals(paced)] == pytest.approx([0.6, 0.8, 1.1])


def test_a_frame_that_finds_the_queue_full_is_dropped_at_its_tail() -> None:
    short = wire(Link(rate_bit_s=8000, queue_byte=2000))
    for letter in (b"a", b"b", b"c"):
        short.offer(letter * 900, 0.0)
    counters = short.counters()
    assert (counters.waiting, counters.overflowed) == (2, 1)
    # Half a second later 500 bytes have left, so there is room again.
    short.offer(b"d" * 500, 0.5)
    assert [frame[:1] for _, frame in all_arrivals(short)] == [b"a", b"b", b"d"]


def test_loss_follows_the_dice_frame_by_frame() -> None:
    lossy = wire(Link(loss=0.5), 0.4, 0.6, 0.4999, 0.5)
    for letter in (b"a", b"b", b"c", b"d"):
        lossy.offer(letter, 0.0)
    assert [frame for _, frame in all_arrivals(lossy)] == [b"b", b"d"]
    assert lossy.counters().lost == 2


def test_a_lost_frame_has_used_the_wire() -> None:
    lossy = wire(Link(loss=0.5, rate_bit_s=8000), 0.1, 0.9)
    lossy.offer(b"x" * 1000, 0.0)
    lossy.offer(b"y" * 1000, 0.0)
    assert [due_s for due_s, _ in all_arrivals(lossy)] == pytest.approx([2.0])


def test_the_same_seed_loses_the_same_frames_whatever_the_delay() -> None:
    def lost(link: Link) -> list[bytes]:
        throwing = Wire(link, random.Random(7))
        for number in range(200):
            throwing.offer(number.to_bytes(2, "big"), number / 1000)
        return [frame for _, frame in all_arrivals(throwing)]

    assert lost(Link(loss=0.2)) == lost(Link(loss=0.2, delay_s=0.3, rate_bit_s=1e7))
    assert 0 < 200 - len(lost(Link(loss=0.2))) < 100


def test_a_cut_swallows_what_is_offered_and_what_is_under_way() -> None:
    broken = wire(Link(delay_s=1.0))
    broken.offer(b"under way", 0.0)
    broken.change(Link(delay_s=1.0, cut=True))
    broken.offer(b"too late", 0.5)
    assert all_arrivals(broken) == []
    assert broken.counters().cut == 2
    broken.change(Link(delay_s=1.0))
    broken.offer(b"healed", 2.0)
    assert all_arrivals(broken) == [(3.0, b"healed")]


def test_frames_keep_their_order_when_the_delay_is_made_shorter() -> None:
    shortened = wire(Link(delay_s=1.0))
    shortened.offer(b"first", 0.0)
    shortened.change(Link(delay_s=0.1))
    shortened.offer(b"second", 0.1)
    assert all_arrivals(shortened) == [(1.0, b"first"), (1.0, b"second")]


def test_lateness_of_the_emulator_is_counted() -> None:
    late = wire(Link(delay_s=0.1))
    late.offer(b"a", 0.0)
    late.offer(b"b", 0.0)
    late.arrivals(0.103)
    counters = late.counters()
    assert counters.lateness_s_max == pytest.approx(0.003)
    assert counters.lateness_s_mean == pytest.approx(0.003)


def test_a_refused_frame_is_not_counted_as_delivered() -> None:
    refusing = wire(Link())
    refusing.offer(b"abc", 0.0)
    (frame,) = refusing.arrivals(0.0)
    refusing.refuse(frame)
    counters = refusing.counters()
    assert (counters.offered, counters.delivered, counters.refused, counters.delivered_byte) == (1, 0, 1, 0)


def test_a_link_without_rate_bounds_what_is_under_way() -> None:
    endless = wire(Link(delay_s=60))
    frame = b"x" * 2**20
    for _ in range(70):
        endless.offer(frame, 0.0)
    assert (endless.counters().waiting, endless.counters().overflowed) == (64, 6)


@given(links, gaps, st.integers(0, 9))
def test_every_frame_is_accounted_for_exactly_once(link: Link, offers: list[tuple[float, int]], seed: int) -> None:
    tried = Wire(link, random.Random(seed))
    now_s = 0.0
    for gap_s, size in offers:
        now_s += gap_s
        tried.offer(b"x" * size, now_s)
        tried.arrivals(now_s)
    counted = tried.counters()
    assert counted.offered == len(offers)
    fates = counted.delivered + counted.lost + counted.overflowed + counted.cut + counted.refused + counted.waiting
    assert counted.offered == fates
    assert counted.offered_byte == sum(size for _, size in offers)
    assert all(value >= 0 for value in asdict(counted).values())


@given(links, gaps)
def test_arrivals_agree_with_a_dumb_simulation_that_walks_over_the_frames(link: Link, offers: list[tuple[float, int]]) -> None:
    """The twin keeps a list of departures and sums what still waits, byte by byte."""
    tried, expected = Wire(link, random.Random(1)), []
    dice, now_s, departures = random.Random(1), 0.0, [(0.0, 0)]
    for number, (gap_s, size) in enumerate(offers):
        now_s += gap_s
        frame = number.to_bytes(2, "big").ljust(size, b"\0")
        tried.offer(frame, now_s)
        lost = dice.random() < link.loss
        free_s = max(now_s, departures[-1][0])
        if link.rate_bit_s and (free_s - now_s) * link.rate_bit_s / 8 + size > link.queue_byte:
            continue
        leaves_s = free_s + (size * 8 / link.rate_bit_s if link.rate_bit_s else 0)
        departures.append((leaves_s, size))
        if not lost:
            expected.append((pytest.approx(leaves_s + link.delay_s), frame))
    assert all_arrivals(tried) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_s": -0.1},
        {"delay_s": float("nan")},
        {"loss": 1.5},
        {"loss": -0.1},
        {"rate_bit_s": 0},
        {"rate_bit_s": float("nan")},
        {"queue_byte": 100},
    ],
)
def test_a_link_that_cannot_be_is_refused_with_its_value(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as refused:
        Link(**wrong)  # type: ignore[arg-type]
    assert str(next(iter(wrong.values()))) in refused.value.message
    assert refused.value.remedy
