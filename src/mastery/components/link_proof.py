"""Whether a link does what it was told, measured through it: the manipulation check of every experiment over a network.

Numbered datagrams fly from one host to another. One process holds both ends, so that sending and arriving are read
from one clock; the arrival is stamped by the kernel, so that a late receiver is not taken for a long wire.
"""

import math
import select
import socket
import struct
import time
from dataclasses import dataclass

from mastery.components.link import Link, LinkCounters
from mastery.components.namespaces import CLONE_NEWNET, Place, enter, join_path

HEADERS_BYTE = 42  # Ethernet 14, IPv4 20, UDP 8
PROBE_BYTE = 64
BURST_BYTE = 1400
FRAME_BIT = (BURST_BYTE + HEADERS_BYTE) * 8
SO_TIMESTAMPNS = 35
GRACE_S = 0.5  # after the last possible arrival on an idle machine; what comes later still counts as lost by the link
TOLERANCE = 0.05  # of a delay, or of the time that a burst takes at the set rate
TOLERANCE_S = 0.001  # whatever the setting: the emulator and the scheduler of a busy machine take their part
CHANCE = 0.001  # that the loss of a faultless link is called wrong


@dataclass(frozen=True, slots=True)
class Flight:
    """What was sent, in order, and when each arrived (or None), in nanoseconds of one clock."""

    sent_ns: tuple[int, ...]
    arrived_ns: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many datagrams of which kind, and how far apart."""

    spaced: int
    gap_s: float
    burst: int
    drain_s: float


@dataclass(frozen=True, slots=True)
class LinkProof:
    """One direction: what was asked, what was measured, and each judgement. `holds` is all of them."""

    source: str
    target: str
    link: Link
    sent: int
    lost: int
    delay_s_expected: float
    delay_s_measured: float | None
    rate_bit_s_measured: float | None
    delay_holds: bool
    loss_holds: bool
    rate_holds: bool
    counters_agree: bool

    @property
    def holds(self) -> bool:
        return self.delay_holds and self.loss_holds and self.rate_holds and self.counters_agree

    def sentence(self) -> str:
        """For the run document and for the message of a void trial."""
        delay = "no delay (nothing arrived)" if self.delay_s_measured is None else f"delay {self.delay_s_measured * 1e3:.2f} ms"
        rate = "" if self.rate_bit_s_measured is None else f", rate {self.rate_bit_s_measured / 1e6:.2f} Mbit/s"
        return (
            f"{self.source} to {self.target}: {delay} (expected {self.delay_s_expected * 1e3:.2f} ms), "
            f"lost {self.lost} of {self.sent} (set to {self.link.loss:.1%}){rate}: {'holds' if self.holds else 'DOES NOT HOLD'}"
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """All directions that were proved."""

    links: tuple[LinkProof, ...]

    @property
    def holds(self) -> bool:
        return all(each.holds for each in self.links)


def plan_flight(link: Link, *, probes: int) -> Plan:
    """About a second at most; enough datagrams to see a loss of a percent, fewer where the link is slow."""
    wire_s = (PROBE_BYTE + HEADERS_BYTE) * 8 / link.rate_bit_s if link.rate_bit_s else 0.0
    gap_s = max(0.0003, 2 * wire_s)
    burst = 0
    if link.rate_bit_s:
        frame_byte = BURST_BYTE + HEADERS_BYTE
        # The burst has to fit the queue, or the link drops a part of it rightly.
        burst = min(int(0.9 * link.queue_byte / frame_byte), max(2, int(0.2 * link.rate_bit_s / 8 / frame_byte)), 400)
    burst_s = burst * (BURST_BYTE + HEADERS_BYTE) * 8 / link.rate_bit_s if link.rate_bit_s else 0.0
    return Plan(spaced=max(20, min(probes, int(1.0 / gap_s))), gap_s=gap_s, burst=burst, drain_s=link.delay_s + burst_s + GRACE_S)


def fly(source: Place, target: Place, *, ipv4: str, plan: Plan) -> Flight:
    """Runs in a process of its own, which it leaves inside the target host."""
    enter(source)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # The user namespace is the same for all hosts; only the network differs.
        join_path(target.network, CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
            receiver.bind((ipv4, 0))
            receiver.setblocking(False)
            return _exchange(sender, receiver, plan)


def _exchange(sender: socket.socket, receiver: socket.socket, plan: Plan) -> Flight:
    sent_ns: list[int] = []
    arrived_ns: dict[int, int] = {}
    begin_s = time.monotonic()
    address = receiver.getsockname()
    for number in range(plan.spaced):
        while (wait_s := begin_s + number * plan.gap_s - time.monotonic()) > 0:
            _take_arrivals(receiver, arrived_ns, wait_s)
        _send(sender, address, sent_ns, PROBE_BYTE)
    # The probes are so far apart that none waits for another: the burst finds an empty queue and measures the wire alone.
    for _ in range(plan.burst):
        _send(sender, address, sent_ns, BURST_BYTE)
    _drain(receiver, arrived_ns, plan, len(sent_ns))
    return Flight(tuple(sent_ns), tuple(arrived_ns.get(number) for number in range(len(sent_ns))))


def _send(sender: socket.socket, address: tuple[str, int], sent_ns: list[int], size_byte: int) -> None:
    # The clock of the kernel's stamps, both ends of one flight within a second.
    now_ns = time.time_ns()
    sender.sendto(len(sent_ns).to_bytes(4, "big").ljust(size_byte, b"\0"), address)
    sent_ns.append(now_ns)


def _drain(receiver: socket.socket, arrived_ns: dict[int, int], plan: Plan, sent: int) -> None:
    """Loss is silence: nothing but a deadline tells it from a late arrival. Ends early when all have come."""
    deadline_s = time.monotonic() + plan.drain_s
    while len(arrived_ns) < sent and (wait_s := deadline_s - time.monotonic()) > 0:
        _take_arrivals(receiver, arrived_ns, wait_s)


def _take_arrivals(receiver: socket.socket, arrived_ns: dict[int, int], wait_s: float) -> None:
    ready, _, _ = select.select([receiver], [], [], wait_s)
    while ready:
        try:
            data, ancillary, _, _ = receiver.recvmsg(2048, 64)
        except BlockingIOError:
            return
        for level, kind, stamp in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", stamp[:16])
                arrived_ns[int.from_bytes(data[:4], "big")] = seconds * 10**9 + nanoseconds


def judge(source: str, target: str, *, link: Link, plan: Plan, flight: Flight, counted: LinkCounters) -> LinkProof:
    """Compares a flight with the link's settings and with the emulator's own counters over the same time."""
    wire_s = (PROBE_BYTE + HEADERS_BYTE) * 8 / link.rate_bit_s if link.rate_bit_s else 0.0
    expected_s = link.delay_s + wire_s
    pairs = list(zip(flight.sent_ns, flight.arrived_ns, strict=True))
    delays = sorted((arrived - sent) / 1e9 for sent, arrived in pairs[: plan.spaced] if arrived is not None)
    measured_s = delays[len(delays) // 2] if delays else None
    lost = sum(arrived is None for _, arrived in pairs)
    frames, burst_s = _burst(flight.arrived_ns[plan.spaced :])
    silent = link.cut or link.loss == 1
    return LinkProof(
        source=source,
        target=target,
        link=link,
        sent=len(pairs),
        lost=lost,
        delay_s_expected=expected_s,
        delay_s_measured=measured_s,
        rate_bit_s_measured=frames * FRAME_BIT / burst_s if burst_s else None,
        delay_holds=silent if measured_s is None else _is_close(measured_s, expected_s),
        loss_holds=loss_is_plausible(lost, len(pairs), loss=1.0 if link.cut else link.loss),
        rate_holds=silent or link.rate_bit_s is None or _burst_holds(frames, burst_s, link.rate_bit_s, sent=plan.burst),
        counters_agree=counted.offered == len(pairs) and counted.delivered == len(pairs) - lost,
    )


def _is_close(measured_s: float, expected_s: float) -> bool:
    return abs(measured_s - expected_s) <= max(TOLERANCE_S, TOLERANCE * expected_s)


def _burst(arrived_ns: tuple[int | None, ...]) -> tuple[int, float]:
    """How many frames the wire carried between the first and the last arrival, lost ones included, and how long it took."""
    there = [(number, at_ns) for number, at_ns in enumerate(arrived_ns) if at_ns is not None]
    if len(there) < 2:
        return 0, 0.0
    return there[-1][0] - there[0][0], (there[-1][1] - there[0][1]) / 1e9


def _burst_holds(frames: int, burst_s: float, rate_bit_s: float, *, sent: int) -> bool:
    # A burst of a frame or two has no rate; a slow link with a tiny queue is proved by its delay alone.
    return sent < 3 or (frames > 0 and _is_close(burst_s, frames * FRAME_BIT / rate_bit_s))


def loss_is_plausible(lost: int, sent: int, *, loss: float) -> bool:
    """Whether a link that loses each frame with chance `loss` would lose so many, two-sided (exact binomial)."""
    if loss in (0.0, 1.0):
        return lost == round(loss * sent)
    at_most = sum(_binomial(k, sent, loss) for k in range(lost + 1))
    at_least = sum(_binomial(k, sent, loss) for k in range(lost, sent + 1))
    return min(at_most, at_least) > CHANCE / 2


def _binomial(k: int, n: int, chance: float) -> float:
    # By logarithms: the coefficient of a thousand over some hundred overflows a float.
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(chance) + (n - k) * math.log1p(-chance))
