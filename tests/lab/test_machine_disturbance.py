"""What disturbed a trial: differences of counters, from folders that change between two readings."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.cgroup import Throttling
from mastery.lab.disturbance import Readings, difference


def stat(root: Path, ticks: list[int]) -> None:
    (root / "proc").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text("cpu  " + " ".join(str(each) for each in ticks) + "\ncpu0 1 2 3\n")


def pressure(root: Path, name: str, total_us: int) -> None:
    (root / "proc/pressure").mkdir(parents=True, exist_ok=True)
    (root / "proc/pressure" / name).write_text(
        f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total_us}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    )


def readings(**changed: object) -> Readings:
    values: dict[str, object] = {
        "at_ns": 0,
        "ticks": None,
        "voluntary_switches": 0,
        "involuntary_switches": 0,
        "major_faults": 0,
        "throttling": None,
        "waited_us": (None, None, None),
        "root": Path("/"),
    }
    return Readings(**{**values, **changed})  # type: ignore[arg-type]


def test_steal_is_a_share_of_all_ticks_and_guests_are_not_counted_twice(tmp_path: Path) -> None:
    #     user nice system idle iowait irq softirq steal guest guest_nice
    stat(tmp_path, [100, 0, 50, 800, 10, 0, 0, 40, 90, 0])
    begin = Readings.start(root=tmp_path)
    stat(tmp_path, [150, 0, 60, 815, 10, 0, 0, 65, 140, 0])
    assert begin.finish().steal_share == pytest.approx(25 / 100)


def test_an_interval_shorter_than_a_tick_has_no_share(tmp_path: Path) -> None:
    stat(tmp_path, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0])
    assert Readings.start(root=tmp_path).finish().steal_share is None


def test_waiting_is_a_share_of_the_interval() -> None:
    begin = readings(waited_us=(1_000, 0, None))
    end = readings(at_ns=10_000_000, waited_us=(3_500, 0, None))
    found = difference(begin, end)
    assert found.cpu_pressure_share == pytest.approx(0.25)
    assert found.memory_pressure_share == 0
    assert found.io_pressure_share is None


def test_a_total_brought_up_to_date_late_is_no_more_than_everything() -> None:
    assert difference(readings(waited_us=(0, 0, 0)), readings(at_ns=1000, waited_us=(2_000_000, 0, 0))).cpu_pressure_share == 1


def test_pressure_is_read_from_its_first_line(tmp_path: Path) -> None:
    pressure(tmp_path, "cpu", 77)
    assert Readings.start(root=tmp_path).waited_us == (77, None, None)


def test_throttling_is_counted_over_the_interval_only() -> None:
    begin = readings(throttling=Throttling(5, 1_000))
    found = difference(begin, readings(at_ns=1, throttling=Throttling(8, 4_000)))
    assert (found.throttled_periods, found.throttled_ns) == (3, 3_000)


def test_what_a_system_does_not_tell_is_none_and_never_zero(tmp_path: Path) -> None:
    found = Readings.start(root=tmp_path).finish()
    assert found.steal_share is None
    assert found.throttled_periods is None
    assert found.cpu_pressure_share is None
    assert found.voluntary_switches >= 0


def test_giving_up_the_processor_of_ones_own_accord_is_a_voluntary_switch() -> None:
    begin = Readings.start()
    time.sleep(0.001)
    assert begin.finish().voluntary_switches >= 1


def test_a_real_reading_can_be() -> None:
    found = Readings.start().finish()
    assert found.elapsed_ns > 0
    assert found.steal_share is None or 0 <= found.steal_share <= 1
    assert found.major_faults >= 0
    for share in (found.cpu_pressure_share, found.memory_pressure_share, found.io_pressure_share):
        assert share is None or 0 <= share <= 1


@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=8), st.lists(st.integers(0, 10**4), min_size=8, max_size=8))
def test_a_share_of_steal_lies_between_nothing_and_everything(before: list[int], more: list[int]) -> None:
    after = tuple(one + other for one, other in zip(before, more, strict=True))
    share = difference(readings(ticks=tuple(before)), readings(at_ns=1, ticks=after)).steal_share
    assert share is None if sum(more) == 0 else share == pytest.approx(more[7] / sum(more))
