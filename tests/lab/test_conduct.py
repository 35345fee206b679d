"""One trial from beginning to end, in this process: what the trial function yields, what comes back, what voids it."""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mastery.components.component import Site
from mastery.components.crash_places import Cut
from mastery.components.crash_site import CrashSiteOf
from mastery.components.power_cut import Since, WriterCall
from mastery.errors import BrokenExperiment, DomainError
from mastery.lab.conduct import Assignment, Conducted, FiguresDisagree, GeneratorSaturated, NothingMeasured, conduct
from mastery.lab.experiment import Arm
from mastery.lab.load import Arrivals, Closed, Load, Open
from mastery.lab.operation import (
    Batched,
    Crash,
    LevelNotInEffect,
    Loader,
    Once,
    Op,
    PerWorker,
    Recorded,
    Refused,
    Result,
    Retry,
    Unknown,
)
from mastery.workloads.append_log import read_log

MS = 1_000_000
TEN = Closed(operations=10)
Trial = Callable[..., Generator[Any, Result, None]]


def conducted(
    trial: Trial,
    *,
    load: Load = TEN,
    seconds: float = 5.0,
    metrics: tuple[str, ...] = (),
    addresses: Mapping[str, Any] | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Conducted:
    assignment = Assignment(trial, Arm(0, {"size": 4}), load, addresses or {}, seconds, 5, metrics)
    return conduct(assignment, clock=clock)


class FakeTime:
    """A clock that moves a little with each reading, and by what an operation takes."""

    def __init__(self, *, reading_ns: int = 0) -> None:
        self.now_ns = 0
        self._reading_ns = reading_ns

    def clock(self) -> int:
        self.now_ns += self._reading_ns
        return self.now_ns

    def work(self, took_ns: int) -> None:
        self.now_ns += took_ns


def nothing(_: int) -> None:
    return


def test_the_arm_and_the_addresses_reach_the_trial_function_and_the_result_comes_back() -> None:
    seen: list[Any] = []

    def trial(arm: Arm, disk: str) -> Generator[Any, Result, None]:
        seen.append((arm.size, disk))
        result = yield nothing
        seen.append((result.operations, result.outcomes.ok, dict(result.metrics)))
        result.record(lost=2)
        result.note(why="because")

    found = conducted(trial, addresses={"disk": "here"}, metrics=("lost",))
    assert seen == [(4, "here"), (10, 10, {})]
    assert (found.metrics, found.notes) == ({"lost": 2.0}, {"why": "because"})
    assert found.load["loop"] == "closed" and found.load["operations"] == 10
    assert found.histogram is not None and found.histogram.count == 10


def test_every_engine_metric_follows_from_the_samples() -> None:
    fake = FakeTime()

    def op(i: int) -> None:
        fake.work((2 if i % 10 == 0 else 1) * MS)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield op

    names = ("p50", "p90", "p99", "p99.9", "mean", "max", "throughput", "seconds", "errors", "unknown", "retries", "cpu")
    found = conducted(trial, load=Closed(operations=1_000), metrics=names, clock=fake.clock).metrics
    assert found["p50"] == pytest.approx(0.001, rel=0.01)
    assert found["p99"] == pytest.approx(0.002, rel=0.01)
    assert "p99.9" not in found  # a thousand samples are too few for it
    assert found["mean"] == pytest.approx(0.0011, rel=0.01)
    assert found["max"] == pytest.approx(0.002, rel=0.01)
    assert found["throughput"] == pytest.approx(1_000 / 1.1)
    assert found["seconds"] == pytest.approx(1.1)
    assert (found["errors"], found["unknown"], found["retries"]) == (0, 0, 0)
    assert found["cpu"] >= 0


def test_only_declared_metrics_are_kept() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield nothing

    assert set(conducted(trial, metrics=("p50", "throughput")).metrics) == {"p50", "throughput"}


def test_outcomes_become_errors_retries_and_what_is_in_doubt() -> None:
    def op(i: int) -> None:
        if i < 4:
            raise (Refused, Retry, Unknown, Unknown)[i]

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield op
        assert (result.outcomes.refused, result.outcomes.retry, result.outcomes.unknown) == (1, 1, 2)

    found = conducted(trial, metrics=("errors", "unknown", "retries"))
    assert found.metrics == {"errors": 3.0, "unknown": 2.0, "retries": 0.1}
    assert (found.load["refused"], found.load["retried"], found.load["unknown"]) == (1, 1, 2)


def test_retries_that_the_operation_made_by_itself_are_added_from_the_tally() -> None:
    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        def op(_: int) -> None:
            loader.tally["retries"] += 2

        yield op

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield PerWorker(make)
        assert result.tally["retries"] == 20

    assert conducted(trial, metrics=("retries",)).metrics == {"retries": 2.0}


def test_a_batch_has_throughput_and_mean_of_its_operations_and_no_percentile() -> None:
    fake = FakeTime()

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield Batched(lambda _: fake.work(MS), 1_000)
        assert result.operations == 1_000_000

    found = conducted(trial, load=Closed(operations=1_000), metrics=("p50", "p99", "mean", "throughput"), clock=fake.clock)
    assert set(found.metrics) == {"mean", "throughput"}
    assert found.metrics["mean"] == pytest.approx(1e-6, rel=0.01)
    assert found.metrics["throughput"] == pytest.approx(1e6)
    assert found.histogram is None


def test_what_measures_by_itself_hands_its_value_back() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield Once(lambda: {"steps": 7})
        result.record(steps=result.value["steps"])

    assert conducted(trial, metrics=("steps",)).metrics == {"steps": 7.0}


def test_a_history_tells_who_invoked_what_when_and_how_it_ended() -> None:
    ends = {1: Refused("full", did="b"), 2: Retry(did="c"), 3: Unknown("time-out", did="d")}
    entries: list[Any] = []

    def op(i: int) -> str:
        if i in ends:
            raise ends[i]
        return f"did {i}"

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield Recorded(op)
        entries.extend(result.history)

    conducted(trial, load=Closed(operations=5))
    assert [(entry.outcome, entry.value) for entry in entries] == [
        ("ok", "did 0"),
        ("fail", "b"),
        ("fail", "c"),
        ("unknown", "d"),
        ("ok", "did 4"),
    ]
    assert all(entry.process == 0 and entry.invoked_ns < entry.returned_ns for entry in entries)
    assert all(before.returned_ns <= after.invoked_ns for before, after in itertools.pairwise(entries))


@pytest.mark.parametrize("load", [Closed(threads=2, operations=20), Closed(processes=2, operations=20)])
def test_histories_of_several_loaders_are_joined_in_the_order_of_their_invocations(load: Closed) -> None:
    left: list[int] = []

    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        yield lambda i: (loader.index, i)
        left.append(loader.index)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield Recorded(PerWorker(make))
        invoked = [entry.invoked_ns for entry in result.history]
        assert invoked == sorted(invoked)
        assert sorted(entry.value for entry in result.history) == [(index, i) for index in range(2) for i in range(10)]
        assert all(entry.value[0] == entry.process for entry in result.history)

    conducted(trial, load=load)
    assert sorted(left) == ([0, 1] if load.processes == 0 else [])


def test_a_recorded_load_is_bounded_in_time_where_checkers_read_every_entry() -> None:
    fake = FakeTime(reading_ns=1_000)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield Recorded(lambda _: fake.work(10 * MS), at_most_s=0.1)
        assert 8 <= len(result.history) <= 11

    conducted(trial, load=Closed(), seconds=5.0, clock=fake.clock)


def test_a_second_load_is_there_for_its_history_and_overwrites_no_figure() -> None:
    fake = FakeTime()

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        first = yield lambda _: fake.work(MS)
        first.record(lost=1)
        second = yield Recorded(lambda _: fake.work(50 * MS))
        assert len(second.history) == 10
        second.record(anomalies=3)

    found = conducted(trial, metrics=("mean", "throughput", "lost", "anomalies"), clock=fake.clock)
    assert found.metrics["mean"] == pytest.approx(0.001, rel=0.01)
    assert found.metrics["throughput"] == pytest.approx(1_000)
    assert (found.metrics["lost"], found.metrics["anomalies"]) == (1, 3)
    assert found.histogram is not None and found.histogram.max_ns < 2 * MS


def test_a_metric_that_nobody_declared_is_refused_with_those_that_are() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.record(lsot=1)

    with pytest.raises(BrokenExperiment, match="lsot") as caught:
        conducted(trial, metrics=("lost",))
    assert "lost" in caught.value.remedy


def test_a_trial_that_never_yields_is_refused() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        if arm.size > 100:
            yield nothing

    with pytest.raises(BrokenExperiment, match="without a yield"):
        conducted(trial)


@pytest.mark.parametrize("thing", [None, 42, "op", [nothing]])
def test_a_trial_that_yields_something_else_is_told_what_it_may_yield(thing: object) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield thing

    with pytest.raises(BrokenExperiment, match="yielded") as caught:
        conducted(trial)
    assert "PerWorker" in caught.value.remedy


def test_a_load_that_ends_before_any_operation_did_measured_nothing() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield nothing

    with pytest.raises(NothingMeasured):
        conducted(trial, load=Closed(), seconds=0.0)


def test_a_level_that_was_not_in_effect_voids_the_trial_and_one_that_was_does_not() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.in_effect("size", 4, arm.size)
        result.in_effect("level", "read committed", "serializable")

    with pytest.raises(LevelNotInEffect, match=r"level was 'read committed', the arm asks for 'serializable'"):
        conducted(trial)


@pytest.mark.parametrize(("lost", "kept"), [(-1.0, False), (-1e-9, False), (0.0, True), (3.0, True)])
def test_less_than_nothing_lost_voids_the_trial(lost: float, kept: bool) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.record(lost=lost, saved=-5.0)

    assignment = Assignment(trial, Arm(0, {}), TEN, {}, 5.0, 5, metrics=("lost", "saved"), guardrails=("lost",))
    if kept:
        assert conduct(assignment, clock=time.perf_counter_ns).metrics == {"lost": lost, "saved": -5.0}
    else:
        with pytest.raises(DomainError, match=rf"The guardrail lost was {lost:g}"):
            conduct(assignment, clock=time.perf_counter_ns)


def test_the_trial_function_is_left_through_its_own_doors_whatever_happens() -> None:
    doors: list[str] = []

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: doors.append("closed"))
            yield 42

    with pytest.raises(BrokenExperiment):
        conducted(trial)
    assert doors == ["closed"]


def test_time_that_lies_outside_every_operation_is_noticed_by_littles_law() -> None:
    fake = FakeTime(reading_ns=100_000)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield nothing

    with pytest.raises(FiguresDisagree, match="Little"):
        conducted(trial, load=Closed(operations=100), clock=fake.clock)


def test_an_open_load_tells_its_rates_and_its_lateness_beside_the_percentiles() -> None:
    fake = FakeTime(reading_ns=50_000)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield nothing

    # A thousand a second are never slept for: the loader spins from one to the next.
    load = Open(rate=1_000, arrivals=Arrivals.REGULAR)
    found = conducted(trial, load=load, seconds=0.05, metrics=("p50",), clock=fake.clock)
    assert (found.load["loop"], found.load["stable"], found.load["offered_per_s"]) == ("open", "yes", 1_000)
    assert found.load["achieved_per_s"] == pytest.approx(1_000, rel=0.05)
    assert 0 <= float(found.load["lateness_p50_s"]) <= float(found.load["lateness_p99_s"]) <= 0.0001
    assert float(found.load["folding_s"]) > 0
    assert found.metrics["p50"] <= 0.0002


def test_an_offer_above_capacity_is_unstable_and_has_no_percentile() -> None:
    fake = FakeTime(reading_ns=1_000)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield lambda _: fake.work(10 * MS)

    load = Open(rate=1_000, arrivals=Arrivals.REGULAR)
    found = conducted(trial, load=load, seconds=0.1, metrics=("p50", "mean", "throughput"), clock=fake.clock)
    assert found.load["stable"] == "no"
    assert set(found.metrics) == {"throughput"}
    assert found.metrics["throughput"] == pytest.approx(100, rel=0.05)
    assert float(found.load["completed_per_s"]) == pytest.approx(100, rel=0.05)
    assert found.histogram is None


def test_a_generator_that_is_late_by_itself_voids_the_trial() -> None:
    # The clock leaps by 7 ms: loaders that were free could not start when they should have.
    fake = FakeTime(reading_ns=7 * MS)

    def trial(arm: Arm) -> Generator[Any, Result, None]:
        yield nothing

    with pytest.raises(GeneratorSaturated, match="20 op/s were not offered"):
        conducted(trial, load=Open(rate=20, arrivals=Arrivals.REGULAR), seconds=0.4, clock=fake.clock)


def write_three(folder: Path, acknowledge: Callable[[int], None]) -> None:
    for number in range(3):
        (folder / str(number)).write_text("safe")
        acknowledge(number)


def write_nothing(folder: Path, acknowledge: Callable[[int], None]) -> None:
    raise OSError("no disk today")


def test_a_crash_runs_the_writer_in_its_place_and_what_is_left_can_be_read(tmp_path: Path) -> None:
    sites = CrashSiteOf(Cut.PROCESS_KILL).start(Site("r1", tmp_path, tmp_path), {})
    kept: list[Path] = []

    def trial(arm: Arm, site: Any) -> Generator[Any, Result, None]:
        result = yield Crash(site, WriterCall(f"{__file__}:write_three"), after_s=(0.0, 0.001), since=Since.DONE)
        after = result.value
        assert after.acknowledged == (0, 1, 2)
        assert (after.kind, after.finished) == ("process kill", True)
        kept.append(after.folder)
        result.record(found=sum((after.folder / str(number)).exists() for number in after.acknowledged))

    with sites.fresh("t1") as address:
        found = conducted(trial, addresses={"site": address}, metrics=("found",))
    assert found.metrics == {"found": 3.0}
    assert not kept[0].exists()


def test_a_kill_in_the_middle_of_a_log_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    sites = CrashSiteOf(Cut.PROCESS_KILL).start(Site("r1", tmp_path, tmp_path), {})
    call = WriterCall(
        "mastery.workloads.append_log:write_until_killed",
        {"policy": "never", "record_byte": 512, "most": 100_000},
        prepare="mastery.workloads.append_log:make_log",
    )

    def trial(arm: Arm, site: Any) -> Generator[Any, Result, None]:
        result = yield Crash(site, call, after_s=(0.01, 0.02))
        found = read_log(result.value.folder, record_byte=512)
        assert result.operations == len(result.value.acknowledged) > 0
        result.record(lost=len(frozenset(result.value.acknowledged) - found.whole))

    with sites.fresh("t1") as address:
        assert conducted(trial, addresses={"site": address}, metrics=("lost",)).metrics == {"lost": 0.0}


def test_a_writer_that_fails_before_the_cut_voids_the_trial_with_its_words(tmp_path: Path) -> None:
    sites = CrashSiteOf(Cut.PROCESS_KILL).start(Site("r1", tmp_path, tmp_path), {})

    def trial(arm: Arm, site: Any) -> Generator[Any, Result, None]:
        yield Crash(site, WriterCall(f"{__file__}:write_nothing"))

    with sites.fresh("t1") as address, pytest.raises(DomainError, match="no disk today"):
        conducted(trial, addresses={"site": address})


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_no_document_can_hold_voids_its_trial_and_not_the_run(figure: float) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.record(lost=figure)

    with pytest.raises(BrokenExperiment, match="recorded lost = "):
        conducted(trial, metrics=("lost",))


@pytest.mark.parametrize("note", [object(), float("nan"), {"deep": [object()]}])
def test_a_note_that_is_no_json_voids_its_trial(note: object) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.note(odd=note)

    with pytest.raises(BrokenExperiment, match="no JSON"):
        conducted(trial)


def test_a_number_beyond_the_whole_numbers_of_json_is_noted_as_a_double() -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield nothing
        result.note(orders_total=2**143, fits=2**53 - 1)

    assert conducted(trial).notes == {"orders_total": float(2**143), "fits": 2**53 - 1}
