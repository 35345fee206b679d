import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.device import describe
from mastery.components.disk import FlushHonesty, ScratchDisk, ScratchDiskService, discard, flush_honesty, parse_size
from mastery.errors import BrokenExperiment, MachineCannot


def site(folder: Path) -> Site:
    return Site(run="r1", folder=folder, sockets=folder)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ScratchDiskService]:
    service = ScratchDiskService(tmp_path)
    yield service
    service.stop()


@pytest.mark.parametrize(("text", "size"), [("1 GiB", 1 << 30), ("512MiB", 512 << 20), ("1.5 KiB", 1536), ("7 B", 7)])
def test_a_size_is_read_in_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "1 GB", "-1 GiB", "one GiB", "1 GiB and more"])
def test_a_size_that_could_be_misread_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(BrokenExperiment, match=repr(text)):
        parse_size(text)


@given(st.integers(0, 10**6), st.sampled_from(["B", "KiB", "MiB"]))
def test_every_whole_size_is_read_exactly(number: int, unit: str) -> None:
    assert parse_size(f"{number} {unit}") == number * {"B": 1, "KiB": 1024, "MiB": 1024**2}[unit]


def test_the_disk_of_this_test_is_found_and_says_what_it_is(tmp_path: Path) -> None:
    if describe(tmp_path).in_memory:
        pytest.skip("the folder of the tests is kept in memory")
    found = ScratchDisk(free="1 MiB").find(site(tmp_path))
    assert isinstance(found, Here)
    assert describe(tmp_path).file_system in found.how


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system keeps no file system in memory there")
def test_a_folder_in_memory_is_no_scratch_disk() -> None:
    found = ScratchDisk().find(site(Path("/dev/shm")))
    assert isinstance(found, Missing)
    assert "memory" in found.reason and "--on disk=" in found.remedy


def test_a_disk_with_too_little_space_is_missing_with_both_figures(tmp_path: Path) -> None:
    found = ScratchDisk(free="999999 TiB")._judge(replace(describe(tmp_path), in_memory=False), parse_size("999999 TiB"))
    assert isinstance(found, Missing)
    assert "999999 TiB" in found.reason and "GiB free" in found.reason


def test_a_read_only_disk_is_missing(tmp_path: Path) -> None:
    found = ScratchDisk()._judge(replace(describe(tmp_path), in_memory=False, read_only=True), 0)
    assert isinstance(found, Missing) and "written" in found.reason


def test_a_folder_that_does_not_exist_is_missing_and_not_an_error(tmp_path: Path) -> None:
    assert isinstance(ScratchDisk().find(site(tmp_path / "gone")), Missing)


def test_a_missing_disk_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(MachineCannot):
        ScratchDisk().start(site(tmp_path / "gone"), {})


def test_a_setting_for_a_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenExperiment, match="cache"):
        ScratchDisk().start(site(tmp_path), {"cache": "off"})


def test_a_disk_lives_for_the_run_under_the_name_disk() -> None:
    assert (ScratchDisk().name, ScratchDisk().scope) == ("disk", Scope.RUN)


def test_each_trial_gets_an_empty_private_folder_that_is_gone_afterwards(service: ScratchDiskService, tmp_path: Path) -> None:
    for _ in range(2):
        with service.fresh("trial 1/2") as folder:
            assert list(folder.path.iterdir()) == []
            assert folder.path.stat().st_mode & 0o777 == 0o700
            assert folder.path.parent == tmp_path
            (folder.path / "deep").mkdir()
            (folder.path / "deep" / "log").write_bytes(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_leaves_no_folder(service: ScratchDiskService, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), service.fresh("t") as folder:
        (folder.path / "x").write_bytes(b"x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_stopping_removes_what_a_trial_still_held_and_can_be_repeated(service: ScratchDiskService, tmp_path: Path) -> None:
    holder = service.fresh("t")
    holder.__enter__()
    service.stop()
    service.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_lead_out_of_the_scratch_folder(service: ScratchDiskService, tmp_path: Path) -> None:
    with service.fresh("../../etc/x") as folder:
        assert folder.path.parent == tmp_path


def test_discarding_follows_no_link_and_spares_what_has_another_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    named_twice = tmp_path / "twice"
    named_twice.write_text("mine too")
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "hard").hardlink_to(named_twice)
    os.mkfifo(folder / "pipe")
    discard(folder)
    assert (outside.read_text(), named_twice.read_text(), folder.exists()) == ("mine", "mine too", False)


def test_the_median_of_the_flushes_is_taken_from_the_clock_that_was_given(tmp_path: Path) -> None:
    ticks = iter([0, 1_000, 0, 300_000, 0, 200_000])
    honesty = flush_honesty(describe(tmp_path), tmp_path, clock_ns=lambda: next(ticks), rounds=3)
    assert honesty.median_s == 200e-6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("median_s", "volatile_cache", "plausible"),
    [(200e-6, True, True), (5e-6, True, False), (5e-6, None, False), (5e-6, False, True), (20e-6, None, True)],
)
def test_a_flush_is_too_fast_to_be_true_only_where_no_known_protection_explains_it(
    median_s: float, volatile_cache: bool | None, plausible: bool
) -> None:
    honesty = FlushHonesty(median_s, 9, volatile_cache)
    assert honesty.plausible is plausible
    assert ("too fast to be true" in honesty.sentence()) is not plausible


def test_the_configuration_is_words_only_and_tells_the_flush_and_the_file_system(service: ScratchDiskService) -> None:
    told = service.configuration()
    assert all(isinstance(value, str) for value in told.values())
    assert "fdatasync" in told["flush honesty"]
    assert told["file system"].startswith(service.facts.file_system)


def test_the_counters_of_the_device_grow_with_a_flushed_write(service: ScratchDiskService) -> None:
    before = service.counters()
    if not before:
        pytest.skip("the folder of the tests has no block device of its own")
    with service.fresh("t") as folder, (folder.path / "x").open("wb") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    after = service.counters()
    assert after["device_written_bytes"] - before["device_written_bytes"] >= 1 << 20
