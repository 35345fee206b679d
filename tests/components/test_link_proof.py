"""The judgement over a link, on flights that are written down by hand: an emulator that lies must be caught."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.link import Link, LinkCounters, Wire
from mastery.components.link_proof import (
    BURST_BYTE,
    HEADERS_BYTE,
    PROBE_BYTE,
    Flight,
    LinkProof,
    Plan,
    Proof,
    judge,
    loss_is_plausible,
    plan_flight,
)

FAITHFUL = Link(delay_s=0.025, loss=0.02, rate_bit_s=20e6)


def flight_over(wire_link: Link, plan: Plan, *, seed: int = 3) -> tuple[Flight, LinkCounters]:
    """What an ideal emulator set to `wire_link` would show, in simulated time."""
    wire = Wire(wire_link, random.Random(seed))
    sent_s = [number * plan.gap_s for number in range(plan.spaced)] + [10.0] * plan.burst
    arrived: dict[int, float] = {}
    for number, at_s in enumerate(sent_s):
        size = (PROBE_BYTE if number < plan.spaced else BURST_BYTE) + HEADERS_BYTE
        wire.offer(number.to_bytes(4, "big").ljust(size, b"\0"), at_s)
    while (due_s := wire.next_due_s()) is not None:
        arrived.update((int.from_bytes(frame[:4], "big"), due_s) for frame in wire.arrivals(due_s))
    in_ns = [None if (at_s := arrived.get(number)) is None else round(at_s * 1e9) for number in range(len(sent_s))]
    return Flight(tuple(round(at_s * 1e9) for at_s in sent_s), tuple(in_ns)), wire.counters()


def judged(told: Link, really: Link) -> LinkProof:
    plan = plan_flight(told, probes=1000)
    flight, counted = flight_over(really, plan)
    return judge("a", "b", link=told, plan=plan, flight=flight, counted=counted)


def test_a_faithful_link_is_proved() -> None:
    proof = judged(FAITHFUL, FAITHFUL)
    assert proof.holds
    assert proof.delay_s_measured == pytest.approx(proof.delay_s_expected)
    assert proof.rate_bit_s_measured == pytest.approx(20e6, rel=1e-3)
    assert proof.sentence().endswith(": holds")


@pytest.mark.parametrize(
    ("really", "failed"),
    [
        (Link(delay_s=0.030, loss=0.02, rate_bit_s=20e6), "delay_holds"),
        (Link(delay_s=0.0, loss=0.02, rate_bit_s=20e6), "delay_holds"),
        (Link(delay_s=0.025, loss=0.0, rate_bit_s=20e6), "loss_holds"),
        (Link(delay_s=0.025, loss=0.06, rate_bit_s=20e6), "loss_holds"),
        (Link(delay_s=0.025, loss=0.02, rate_bit_s=10e6), "rate_holds"),
        (Link(delay_s=0.025, loss=0.02), "rate_holds"),
    ],
)
def test_a_link_that_does_something_else_than_told_is_caught(really: Link, failed: str) -> None:
    proof = judged(FAITHFUL, really)
    assert not getattr(proof, failed)
    assert not proof.holds
    assert not Proof((judged(FAITHFUL, FAITHFUL), proof)).holds
    assert "DOES NOT HOLD" in proof.sentence()


def test_an_emulator_that_miscounts_is_caught() -> None:
    plan = plan_flight(FAITHFUL, probes=1000)
    flight, counted = flight_over(FAITHFUL, plan)
    forged = LinkCounters(**{**vars_of(counted), "delivered": counted.delivered + 1})
    assert not judge("a", "b", link=FAITHFUL, plan=plan, flight=flight, counted=forged).counters_agree


def vars_of(counted: LinkCounters) -> dict[str, float]:
    return {name: getattr(counted, name) for name in LinkCounters.__slots__}


def test_a_cut_link_is_proved_by_silence() -> None:
    cut = Link(delay_s=0.025, cut=True)
    proof = judged(cut, cut)
    assert proof.holds
    assert proof.lost == proof.sent
    assert not judged(cut, Link(delay_s=0.025)).holds


def test_the_burst_always_fits_the_queue_of_its_link() -> None:
    for link in (FAITHFUL, Link(rate_bit_s=64e3, queue_byte=1600), Link(rate_bit_s=1e9), Link(rate_bit_s=1000)):
        plan = plan_flight(link, probes=1000)
        assert plan.burst * (BURST_BYTE + HEADERS_BYTE) <= link.queue_byte
        assert plan.spaced >= 20


@given(st.integers(1, 300), st.data())
def test_plausible_losses_are_those_near_the_set_share(sent: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, sent))
    loss = data.draw(st.floats(0.01, 0.99))
    deviation = (sent * loss * (1 - loss)) ** 0.5
    # Hoeffding and Cantelli leave room between these two; outside it the exact test has no choice.
    if abs(lost - sent * loss) > 6 * deviation + 6:
        assert not loss_is_plausible(lost, sent, loss=loss)
    if abs(lost - sent * loss) <= deviation:
        assert loss_is_plausible(lost, sent, loss=loss)


def test_the_exact_test_agrees_with_an_enumeration() -> None:
    def enumerated(lost: int, sent: int, loss: float) -> bool:
        chances = [0.0] * (sent + 1)
        for outcome in range(2**sent):
            losses = outcome.bit_count()
            chances[losses] += loss**losses * (1 - loss) ** (sent - losses)
        return min(sum(chances[: lost + 1]), sum(chances[lost:])) > 0.0005

    for loss in (0.02, 0.3, 0.9):
        for lost in range(11):
            assert loss_is_plausible(lost, 10, loss=loss) == enumerated(lost, 10, loss)


def test_a_link_without_loss_may_not_lose_a_single_frame() -> None:
    assert loss_is_plausible(0, 1000, loss=0.0)
    assert not loss_is_plausible(1, 1000, loss=0.0)
    assert loss_is_plausible(1000, 1000, loss=1.0)
    assert not loss_is_plausible(999, 1000, loss=1.0)
