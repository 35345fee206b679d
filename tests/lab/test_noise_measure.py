"""What a machine can measure at all, on clocks and sleeps that behave as they are told."""

import time

import pytest

from mastery.lab.noise import SLEEP_S, SLEEPS, Noise, measure_noise


class Clock:
    """Each reading costs `read_ns`; what is shown is cut down to whole ticks."""

    def __init__(self, *, read_ns: int, tick_ns: int) -> None:
        self.now_ns, self._read_ns, self._tick_ns = 0, read_ns, tick_ns

    def __call__(self) -> int:
        self.now_ns += self._read_ns
        return self.now_ns // self._tick_ns * self._tick_ns


def measured(clock: Clock, late_ns: list[int]) -> Noise:
    turns = iter(late_ns)

    def sleep(seconds: float) -> None:
        clock.now_ns += round(seconds * 1e9) + next(turns)

    return measure_noise(clock, sleep=sleep)


def test_the_cost_of_a_pair_is_that_of_two_readings() -> None:
    clock = Clock(read_ns=40, tick_ns=1)
    noise = measured(clock, [0] * SLEEPS)
    # 500 readings between two others: the enclosing ones add a five-hundredth.
    assert noise.clock_pair_ns == pytest.approx(80, rel=0.01)
    assert noise.clock_resolution_ns == 40


def test_a_coarse_clock_is_seen_as_coarse() -> None:
    clock = Clock(read_ns=40, tick_ns=1_000_000)
    noise = measured(clock, [0] * SLEEPS)
    assert noise.clock_resolution_ns == 1_000_000


def test_a_clock_that_stands_still_between_many_readings_is_waited_for() -> None:
    clock = Clock(read_ns=1, tick_ns=500_000)
    noise = measured(clock, [0] * SLEEPS)
    assert noise.clock_resolution_ns == 500_000


def test_the_rare_late_sleep_shows_in_the_tail_and_not_in_the_middle() -> None:
    clock = Clock(read_ns=1, tick_ns=1)
    noise = measured(clock, [50_000] * 98 + [7_000_000] * 2)
    assert noise.sleep_overshoot_median_ns == pytest.approx(50_000, abs=2)
    assert noise.sleep_overshoot_p99_ns == pytest.approx(7_000_000, abs=2)


def test_the_real_machine_gives_figures_that_can_be() -> None:
    noise = measure_noise(time.perf_counter_ns, sleep=time.sleep)
    assert noise.clock_resolution_ns >= 1
    assert noise.clock_pair_ns > 0
    assert noise.null_operation_ns > 0
    # sleep() never returns early since Python 3.5.
    assert 0 <= noise.sleep_overshoot_median_ns <= noise.sleep_overshoot_p99_ns
    assert SLEEP_S * SLEEPS <= 0.1
