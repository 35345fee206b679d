"""Threads and processes that drive a load side by side: what they share, what each has of its own, what their death means."""

import itertools
import math
import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mastery.errors import UnknownName
from mastery.lab.load import Arrivals, Closed, Load, Open
from mastery.lab.loaders import Drive, Gathered, LoaderDied, arrivals, drive
from mastery.lab.operation import HistoryEntry, Loader, Op, PerWorker, Refused


def driven(op: Op | PerWorker, load: Load, *, seconds: float = 5.0, seed: int = 3) -> Gathered:
    return drive(op, Drive(load, seconds, seed, time.perf_counter_ns))


def nothing(_: int) -> None:
    return


def starts(load: Open, *, seconds: float = 100.0, seed: int = 3, share: int = 1) -> list[int]:
    return [due for _, due in arrivals(load, seconds=seconds, seed=seed, begin_ns=0, share=share)]


def test_poisson_arrivals_come_at_the_rate_with_exponential_gaps() -> None:
    due = starts(Open(rate=100))
    assert abs(len(due) - 10_000) < 5 * math.sqrt(10_000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(due)]
    # The spread of an exponential gap equals its mean; that of a regular one is zero.
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(1.0, abs=0.05)
    assert due == sorted(due)
    assert due[-1] < 100e9


def test_regular_arrivals_are_evenly_spaced_and_numbered() -> None:
    found = list(arrivals(Open(rate=100, arrivals=Arrivals.REGULAR), seconds=0.055, seed=1, begin_ns=7))
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    assert [due for _, due in found] == pytest.approx([7 + 10_000_000 * (k + 1) for k in range(5)], abs=2)


def test_the_seed_alone_decides_the_arrivals_so_that_all_arms_of_a_block_meet_the_same() -> None:
    assert starts(Open(rate=50)) == starts(Open(rate=50, threads=4)) != starts(Open(rate=50), seed=4)


def test_a_share_of_the_stream_has_its_share_of_the_rate() -> None:
    assert abs(len(starts(Open(rate=100), share=4)) - 2_500) < 5 * math.sqrt(2_500)


def test_several_threads_draw_each_arrival_once() -> None:
    load = Open(rate=4_000, threads=4)
    drawn: list[int] = []
    gathered = driven(drawn.append, load, seconds=0.05)
    assert sorted(drawn) == list(range(len(starts(load, seconds=0.05))))
    assert sum(len(each.latencies) for each in gathered.samples) == len(drawn)
    assert len(gathered.samples) == 4


@pytest.mark.parametrize("load", [Closed(threads=3, operations=10), Closed(processes=3, operations=10), Closed(operations=10)])
def test_a_count_is_shared_out_among_the_loaders(load: Closed) -> None:
    gathered = driven(nothing, load)
    assert sorted(len(each.latencies) for each in gathered.samples) == ([3, 3, 4] if load.loaders == 3 else [10])


def test_more_loaders_than_operations_leave_some_without_any() -> None:
    gathered = driven(nothing, Closed(threads=4, operations=2))
    assert sorted(len(each.latencies) for each in gathered.samples) == [0, 0, 1, 1]


def test_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=30)
    gathered = driven(lambda _: bool(together.wait() + 1) or None, Closed(threads=4, operations=4))
    assert sum(each.outcomes.ok for each in gathered.samples) == 4


def test_processes_work_at_the_same_time(tmp_path: Path) -> None:
    doors = [os.pipe(), os.pipe()]

    def meet(loader: Loader) -> None:
        # Each says that it is here and waits for the other: one after the other they would never finish.
        os.write(doors[1 - loader.index][1], b"x")
        assert os.read(doors[loader.index][0], 1) == b"x"

    gathered = driven(per_worker(meet), Closed(processes=2, operations=2))
    assert sum(each.outcomes.ok for each in gathered.samples) == 2
    for ends in doors:
        for end in ends:
            os.close(end)


def per_worker(do) -> PerWorker:
    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        yield lambda _: do(loader)

    return PerWorker(make)


def counting(loader: Loader) -> None:
    loader.tally["done"] += 1
    loader.history.append(HistoryEntry(loader.index, len(loader.history), len(loader.history) + 1, "ok", os.getpid()))
    if loader.tally["done"] % 2:
        raise Refused


@pytest.mark.parametrize("load", [Closed(threads=3, operations=30), Closed(processes=3, operations=30)])
def test_tallies_histories_and_samples_of_all_loaders_are_joined(load: Closed) -> None:
    gathered = driven(per_worker(counting), load)
    assert gathered.tally == Counter(done=30)
    assert Counter(entry.process for entry in gathered.history) == {0: 10, 1: 10, 2: 10}
    assert [each.outcomes.refused for each in gathered.samples] == [5, 5, 5]
    assert [each.outcomes.ok for each in gathered.samples] == [5, 5, 5]
    assert len({entry.value for entry in gathered.history}) == (3 if load.processes else 1)
    assert (os.getpid() in {entry.value for entry in gathered.history}) is not bool(load.processes)


@pytest.mark.parametrize("load", [Closed(threads=3, operations=30), Closed(processes=3, operations=30), Closed(operations=3)])
def test_each_loader_enters_once_and_leaves(load: Closed, tmp_path: Path) -> None:
    def note(word: str, loader: Loader) -> None:
        # Appended in one write, so that several processes can share the file.
        with (tmp_path / "diary").open("a") as file:
            file.write(f"{word} {loader.index}\n")

    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        note("in", loader)
        yield nothing
        note("out", loader)

    driven(PerWorker(make), load)
    expected = [f"{word} {index}" for word in ("in", "out") for index in range(load.loaders)]
    assert sorted((tmp_path / "diary").read_text().splitlines()) == sorted(expected)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_each_loader_has_randomness_of_its_own_that_the_seed_decides(kind: str) -> None:
    def draw(loader: Loader) -> None:
        loader.history.append(HistoryEntry(loader.index, 0, 0, "ok", loader.rng.random()))

    def drawn(seed: int) -> dict[int, float]:
        load = Closed(threads=2, operations=2) if kind == "threads" else Closed(processes=2, operations=2)
        return {entry.process: entry.value for entry in driven(per_worker(draw), load, seed=seed).history}

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1).values())) == 2


def test_an_open_load_of_processes_is_offered_by_all_of_them_together() -> None:
    load = Open(rate=2_000, processes=2)
    gathered = driven(nothing, load, seconds=0.1)
    counts = [len(each.latencies) for each in gathered.samples]
    expected = [len(starts(load, seconds=0.1, seed=3 * 7_919 + index, share=2)) for index in range(2)]
    assert counts == expected
    assert all(len(each.lateness) <= len(each.latencies) for each in gathered.samples)


def test_a_thread_that_raises_ends_the_load_with_its_exception() -> None:
    def op(loader: Loader) -> None:
        if loader.index == 1:
            raise ValueError("the second loader")

    with pytest.raises(ValueError, match="the second loader"):
        driven(per_worker(op), Closed(threads=2, operations=10))


def children_of_mine() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


@pytest.mark.parametrize(
    ("death", "words"),
    [(lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"), (lambda: os._exit(3), "exit status 3")],
)
@pytest.mark.parametrize("when", ["in set-up", "in an operation"])
def test_a_loader_process_that_dies_is_named_with_its_end_and_takes_the_others_with_it(death, words: str, when: str) -> None:
    before = children_of_mine()

    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        if when == "in set-up" and loader.index == 1:
            death()
        yield (lambda _: death() if loader.index == 1 else None)

    with pytest.raises(LoaderDied, match=rf"Loader 1 .*{words}"):
        driven(PerWorker(make), Closed(processes=3, operations=300))
    assert children_of_mine() == before


class Unpackable(Exception):
    """Can be packed, and not unpacked: its construction needs more than its words."""

    def __init__(self, words: str, *, remedy: str) -> None:
        super().__init__(words)


@pytest.mark.parametrize("when", ["in set-up", "in an operation"])
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ValueError("no such account"), ValueError),
        (Unpackable("no such account", remedy="open it"), RuntimeError),
        (UnknownName("account", "no such account", [], remedy="open it"), UnknownName),
        (ValueError("no such account", lambda: None), RuntimeError),
    ],
    ids=["plain", "not to be unpacked", "one of ours", "not to be packed"],
)
def test_a_failure_in_a_loader_process_keeps_its_words_on_the_way_to_the_parent(
    failure: Exception, kind: type[Exception], when: str
) -> None:
    @contextmanager
    def make(loader: Loader) -> Iterator[Op]:
        if when == "in set-up":
            raise failure

        def op(_: int) -> None:
            raise failure

        yield op

    with pytest.raises(kind, match="no such account"):
        driven(PerWorker(make), Closed(processes=2, operations=4))
