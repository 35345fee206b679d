"""The loops that time operations, on a clock that only moves when it is told to: every figure is known beforehand."""

from collections.abc import Callable

import pytest

from mastery.lab import trial
from mastery.lab.load import Arrivals, Open
from mastery.lab.loaders import arrivals
from mastery.lab.operation import Op, Refused, Retry, Unknown
from mastery.lab.trial import Samples, closed_loop, open_loop, wait_until

MS = 1_000_000


class FakeTime:
    """A clock whose readings cost nothing; sleeping and working move it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.slept_s: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_ns += round(seconds * 1e9)

    def work(self, took_ns: int) -> None:
        self.now_ns += took_ns


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    # A spin would wait for ever for a clock that stands still between readings.
    monkeypatch.setattr(trial, "SPIN_NS", 0)
    return FakeTime()


def closed(time: FakeTime, op: Op, *, until_ns: int = 10**15, operations: int | None = None) -> Samples:
    samples = Samples()
    closed_loop(op, clock=time.clock, until_ns=until_ns, operations=operations, samples=samples)
    return samples


def opened(time: FakeTime, op: Op, load: Open, *, seconds: float) -> Samples:
    samples = Samples()
    stream = arrivals(load, seconds=seconds, seed=1, begin_ns=0)
    open_loop(op, stream, clock=time.clock, samples=samples, sleep=time.sleep)
    return samples


def stalling_server(time: FakeTime, *, at_ns: int, for_ns: int) -> Op:
    """Answers in 1 ms, but stands still once."""
    stalled = False

    def serve(_: int) -> None:
        nonlocal stalled
        if not stalled and time.now_ns + MS > at_ns:
            stalled = True
            time.work(for_ns)
        time.work(MS)

    return serve


def percentile_ms(samples: Samples, share: float) -> float:
    """By nearest rank, the plainest definition there is."""
    ordered = sorted(samples.latencies)
    return ordered[int(share * len(ordered)) - 1] / MS


def test_a_closed_loop_ends_by_count(time: FakeTime) -> None:
    numbers: list[int] = []

    def op(i: int) -> None:
        numbers.append(i)
        time.work(3 * MS)

    samples = closed(time, op, operations=5)
    assert numbers == [0, 1, 2, 3, 4]
    assert list(samples.latencies) == [3 * MS] * 5
    assert (samples.started_ns, samples.finished_ns, samples.outcomes.ok) == (0, 15 * MS, 5)


def test_a_closed_loop_ends_by_time_and_finishes_what_it_has_begun(time: FakeTime) -> None:
    samples = closed(time, lambda _: time.work(3 * MS), until_ns=10 * MS)
    assert len(samples.latencies) == 4
    assert samples.finished_ns == 12 * MS


def test_a_closed_loop_whose_time_is_over_or_whose_count_is_zero_runs_nothing(time: FakeTime) -> None:
    assert len(closed(time, lambda _: time.work(MS), until_ns=0).latencies) == 0
    assert len(closed(time, lambda _: time.work(MS), operations=0).latencies) == 0


def ending(time: FakeTime) -> Op:
    """Ends in turn ok, refused, to be retried, in doubt; each takes another time."""
    ends: list[Callable[[], Exception] | None] = [None, Refused, Retry, Unknown]

    def op(i: int) -> None:
        time.work((i % 4 + 1) * MS)
        end = ends[i % 4]
        if end is not None:
            raise end()

    return op


def test_outcomes_are_counted_and_only_a_refusal_leaves_no_latency(time: FakeTime) -> None:
    samples = closed(time, ending(time), operations=8)
    outcomes = samples.outcomes
    assert (outcomes.ok, outcomes.refused, outcomes.retry, outcomes.unknown, outcomes.all) == (2, 2, 2, 2, 8)
    assert list(samples.latencies) == [1 * MS, 3 * MS, 4 * MS] * 2
    assert samples.finished_ns == 20 * MS


def test_outcomes_are_counted_alike_in_an_open_loop(time: FakeTime) -> None:
    samples = opened(time, ending(time), Open(rate=100, arrivals=Arrivals.REGULAR), seconds=0.085)
    outcomes = samples.outcomes
    assert (outcomes.ok, outcomes.refused, outcomes.retry, outcomes.unknown) == (2, 2, 2, 2)
    assert [round(each / MS, 3) for each in samples.latencies] == [1, 3, 4] * 2
    assert samples.service_ns == pytest.approx(16 * MS)


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_any_other_exception_leaves_the_loop(time: FakeTime, loop: str) -> None:
    def op(_: int) -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError):
        if loop == "closed":
            closed(time, op)
        else:
            opened(time, op, Open(rate=100), seconds=1)


def test_one_stall_is_one_slow_operation_in_a_closed_loop(time: FakeTime) -> None:
    samples = closed(time, stalling_server(time, at_ns=2_000 * MS, for_ns=1_000 * MS), until_ns=10_000 * MS)
    assert sorted(samples.latencies) == [MS] * 8_999 + [1_001 * MS]
    assert percentile_ms(samples, 0.99) == 1.0


def test_one_stall_is_many_slow_operations_in_an_open_loop(time: FakeTime) -> None:
    server = stalling_server(time, at_ns=2_000 * MS, for_ns=1_000 * MS)
    samples = opened(time, server, Open(rate=100, arrivals=Arrivals.REGULAR), seconds=10.005)
    # The k-th arrival after the one that met the stall starts k ms after the stall's end and was due 10 k ms after its
    # beginning: it waits for 1,001 - 9 k ms, until that falls below what an answer takes.
    hit = 199
    expected_ms = [1.0] * hit + [max(1.0, 1_001.0 - 9 * k) for k in range(1_000 - hit)]
    assert [each / MS for each in samples.latencies] == pytest.approx(expected_ms, abs=1e-3)
    assert percentile_ms(samples, 0.99) == pytest.approx(911, abs=1e-3)
    # Arrivals that found the loader busy are late by the system's doing, not the generator's.
    assert len(samples.lateness) == 1_000 - 111
    assert max(samples.lateness) <= 1
    assert samples.queueing_ns / MS == pytest.approx(sum(1_001 - 9 * k - 1 for k in range(1, 112)), abs=1)
    assert samples.service_ns == 2_000 * MS


def test_a_missed_start_is_late_and_never_skipped(time: FakeTime) -> None:
    samples = opened(time, lambda _: time.work(25 * MS), Open(rate=100, arrivals=Arrivals.REGULAR), seconds=0.105)
    assert samples.outcomes.ok == 10
    assert [each / MS for each in samples.latencies] == pytest.approx([25 + 15 * k for k in range(10)], abs=1e-3)


def test_a_wait_sleeps_until_shortly_before_its_end_and_spins_the_rest() -> None:
    time = FakeTime()
    readings = 0

    def ticking() -> int:
        nonlocal readings
        readings += 1
        time.work(100_000)
        return time.now_ns

    ended = wait_until(10 * MS, clock=ticking, sleep=time.sleep)
    assert 10 * MS <= ended < 10 * MS + 100_000
    assert len(time.slept_s) == 1
    assert time.slept_s[0] == pytest.approx((10 * MS - 100_000 - trial.SPIN_NS) / 1e9)
    assert readings >= trial.SPIN_NS // 100_000


def test_a_wait_for_what_is_past_returns_at_once() -> None:
    time = FakeTime()
    time.work(5 * MS)
    assert wait_until(4 * MS, clock=time.clock, sleep=time.sleep) == 5 * MS
    assert time.slept_s == []


def test_a_sleep_that_returns_too_early_is_slept_again(time: FakeTime) -> None:
    def half(seconds: float) -> None:
        time.sleep(max(seconds / 2, 1e-9))

    assert wait_until(MS, clock=time.clock, sleep=half) >= MS
    assert len(time.slept_s) > 1
