"""What a network link does to frames: delay, loss, a rate with a queue, a cut. Pure: the clock and the dice are passed in."""

import random
from collections import deque
from dataclasses import dataclass, field

from mastery.errors import UsageError

QUEUE_BYTE = 256 * 1024
DELAY_LINE_BYTE = 64 * 2**20  # what may be under way on a link without a rate, so that memory stays bounded


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a link: a queue, then a wire of `rate_bit_s`, then `delay_s` of distance.

    `loss` is the share of frames lost, each on its own. The rate counts whole Ethernet frames (headers included, preamble not).
    `queue_byte` is what may wait for the wire; a frame that finds it full is dropped at its tail.
    """

    delay_s: float = 0.0
    loss: float = 0.0
    rate_bit_s: float | None = None
    queue_byte: int = QUEUE_BYTE
    cut: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.delay_s <= 60:
            raise UsageError(f"A link cannot have a delay of {self.delay_s} s.", remedy="Give delay_s between 0 and 60.")
        if not 0 <= self.loss <= 1:
            raise UsageError(f"A link cannot lose a share of {self.loss}.", remedy="Give loss between 0 and 1: 0.02 is 2 %.")
        if self.rate_bit_s is not None and not self.rate_bit_s >= 1000:
            raise UsageError(
                f"A link cannot have a rate of {self.rate_bit_s} bit/s.", remedy="Give rate_bit_s of at least 1000, or None."
            )
        if self.queue_byte < 1600:
            raise UsageError(f"A queue of {self.queue_byte} B holds no full frame.", remedy="Give queue_byte of at least 1600.")


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Frames since the start of one direction. offered = delivered + lost + overflowed + cut + refused + waiting.

    `refused` were due but the kernel would not take them. Lateness is how much after its due time a frame left the
    emulator: the emulator's own error, which stands beside every figure taken over it.
    """

    offered: int
    delivered: int
    lost: int
    overflowed: int
    cut: int
    refused: int
    waiting: int
    offered_byte: int
    delivered_byte: int
    lateness_s_mean: float
    lateness_s_max: float


@dataclass(slots=True)
class Wire:
    """The state of one direction: feed it frames by `offer`, take what has arrived by `arrivals`.

    Frames leave in the order they came, as on a real wire, also when the delay is made shorter while some are under way.
    """

    link: Link
    dice: random.Random
    _under_way: deque[tuple[float, bytes]] = field(default_factory=deque)
    _under_way_byte: int = 0
    _free_at_s: float = 0.0
    _last_due_s: float = 0.0
    _offered: int = 0
    _delivered: int = 0
    _lost: int = 0
    _overflowed: int = 0
    _cut: int = 0
    _refused: int = 0
    _offered_byte: int = 0
    _delivered_byte: int = 0
    _lateness_s_sum: float = 0.0
    _lateness_s_max: float = 0.0

    def offer(self, frame: bytes, now_s: float) -> None:
        """A frame reaches the queue of the link."""
        link, size_byte = self.link, len(frame)
        self._offered += 1
        self._offered_byte += size_byte
        if link.cut:
            self._cut += 1
            return
        # One throw a frame, whatever the link is set to: the same seed loses the same frames under another delay or rate.
        unlucky = self.dice.random() < link.loss
        begin_s = max(now_s, self._free_at_s)
        if self._is_full(size_byte, begin_s - now_s):
            self._overflowed += 1
            return
        leaves_s = begin_s + (size_byte * 8 / link.rate_bit_s if link.rate_bit_s else 0.0)
        self._free_at_s = leaves_s
        # A lost frame has used the wire all the same: it dies on the way, not before the sender's queue.
        if unlucky:
            self._lost += 1
            return
        self._last_due_s = max(self._last_due_s, leaves_s + link.delay_s)
        self._under_way.append((self._last_due_s, frame))
        self._under_way_byte += size_byte

    def _is_full(self, size_byte: int, wait_s: float) -> bool:
        if self.link.rate_bit_s:
            return wait_s * self.link.rate_bit_s / 8 + size_byte > self.link.queue_byte
        return self._under_way_byte + size_byte > DELAY_LINE_BYTE

    def next_due_s(self) -> float | None:
        """When the next frame arrives at the other end."""
        return self._under_way[0][0] if self._under_way else None

    def arrivals(self, now_s: float) -> list[bytes]:
        """The frames that have arrived by now; a cut link swallows what was under way."""
        arrived: list[bytes] = []
        while self._under_way and self._under_way[0][0] <= now_s:
            due_s, frame = self._under_way.popleft()
            self._under_way_byte -= len(frame)
            if self.link.cut:
                self._cut += 1
                continue
            lateness_s = now_s - due_s
            self._lateness_s_sum += lateness_s
            self._lateness_s_max = max(self._lateness_s_max, lateness_s)
            self._delivered += 1
            self._delivered_byte += len(frame)
            arrived.append(frame)
        return arrived

    def refuse(self, frame: bytes) -> None:
        """The kernel at the other end did not take a frame that had arrived."""
        self._delivered -= 1
        self._delivered_byte -= len(frame)
        self._refused += 1

    def change(self, link: Link) -> None:
        """What is under way keeps its time of arrival; what is offered from now on meets the new link."""
        if link.rate_bit_s != self.link.rate_bit_s:
            self._free_at_s = 0.0
        self.link = link

    def counters(self) -> LinkCounters:
        arrived = self._delivered + self._refused
        return LinkCounters(
            offered=self._offered,
            delivered=self._delivered,
            lost=self._lost,
            overflowed=self._overflowed,
            cut=self._cut,
            refused=self._refused,
            waiting=len(self._under_way),
            offered_byte=self._offered_byte,
            delivered_byte=self._delivered_byte,
            lateness_s_mean=self._lateness_s_sum / arrived if arrived else 0.0,
            lateness_s_max=self._lateness_s_max,
        )
