"""M/M/1 in simulation against its closed form, and Little's law on the same simulation."""

import math

import numpy as np
import pytest

from mastery.lab.queueing import SingleServer, batch_means, littles_law

SEVENTY_PER_CENT = SingleServer(arrivals_per_s=700.0, services_per_s=1_000.0)


def simulate(queue: SingleServer, customers: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals and time inside in seconds, by Lindley's recursion unrolled: W_n = S_n - min(S_0 .. S_n) of the random walk S."""
    between = random.exponential(1.0 / queue.arrivals_per_s, customers)
    service = random.exponential(1.0 / queue.services_per_s, customers)
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - between[1:])])
    waiting = walk - np.minimum.accumulate(walk)
    return np.cumsum(between), waiting + service


def test_the_simulated_mean_and_percentile_are_those_of_the_closed_form() -> None:
    assert SEVENTY_PER_CENT.latency_mean_s == pytest.approx(1 / 300)
    assert SEVENTY_PER_CENT.latency_s(0.99) == pytest.approx(math.log(100) / 300)
    _, inside = simulate(SEVENTY_PER_CENT, 2_000_000, np.random.default_rng(1))
    steady = inside[10_000:]  # the first customers meet an empty system
    mean = batch_means(steady, batches=30, level=0.99)
    assert not mean.excludes(SEVENTY_PER_CENT.latency_mean_s)
    assert mean.reach < 0.02 * SEVENTY_PER_CENT.latency_mean_s
    # "Exceeds the p99 of the formula" is a value of 0 or 1 whose mean must be 1 %.
    beyond = batch_means((steady > SEVENTY_PER_CENT.latency_s(0.99)).astype(float), batches=30, level=0.99)
    assert not beyond.excludes(0.01)
    assert beyond.reach < 0.0015


def test_batch_means_cover_where_the_plain_standard_error_does_not() -> None:
    random = np.random.default_rng(2)
    runs, by_batches, plainly = 200, 0, 0
    for _ in range(runs):
        _, inside = simulate(SEVENTY_PER_CENT, 60_000, random)
        steady = inside[5_000:]
        by_batches += not batch_means(steady, batches=20).excludes(SEVENTY_PER_CENT.latency_mean_s)
        plainly += abs(steady.mean() - SEVENTY_PER_CENT.latency_mean_s) < 1.96 * steady.std() / math.sqrt(steady.size)
    assert by_batches / runs >= 0.90
    assert plainly / runs < 0.6


def test_littles_law_holds_on_the_simulation_and_breaks_when_operations_are_lost() -> None:
    arrivals, inside = simulate(SEVENTY_PER_CENT, 200_000, np.random.default_rng(3))
    span = float((arrivals + inside).max())
    in_flight = float(inside.sum()) / span
    law = littles_law(in_flight=in_flight, throughput_per_s=200_000 / span, latency_mean_s=float(inside.mean()))
    assert law.holds()
    assert in_flight == pytest.approx(0.7 / 0.3, rel=0.05)
    lost = littles_law(in_flight=in_flight, throughput_per_s=180_000 / span, latency_mean_s=float(inside.mean()))
    assert lost.gap == pytest.approx(0.1)
    assert not lost.holds()


def test_an_idle_trial_keeps_littles_law() -> None:
    assert littles_law(in_flight=0.0, throughput_per_s=0.0, latency_mean_s=0.0).holds()


@pytest.mark.parametrize(("arrivals", "services"), [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0)])
def test_a_server_at_or_beyond_its_capacity_has_no_steady_state(arrivals: float, services: float) -> None:
    with pytest.raises(ValueError, match="no steady state"):
        SingleServer(arrivals, services)


def test_an_interval_from_batches_needs_two_of_them() -> None:
    with pytest.raises(ValueError, match="do not make"):
        batch_means(np.ones(10), batches=1)
    with pytest.raises(ValueError, match="do not make"):
        batch_means(np.ones(10), batches=11)
