"""The durability policies of the log on real files: what is flushed when, what is at risk, and who may return."""

import fcntl
import os
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.file_operations import Acknowledge, Files, Flush, Operation, Write
from mastery.workloads import append_log
from mastery.workloads.append_log import AppendLog, FlushCall, Layout, LogKind, Policy, make_log, pack, read_log, write_records

COMMITS = 100
PROMISES = [Policy.NEVER, Policy.EVERY_16TH, Policy.GROUP, Policy.EVERY]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were really flushed, in order."""
    calls: list[int] = []
    for name in ("fdatasync", "fsync"):
        real: Callable[[int], None] = getattr(os, name)

        def counted(descriptor: int, real: Callable[[int], None] = real) -> None:
            real(descriptor)
            calls.append(descriptor)

        monkeypatch.setattr(os, name, counted)
    return calls


@pytest.mark.parametrize(
    ("policy", "flushes", "at_risk"),
    [(Policy.NEVER, 0, COMMITS), (Policy.EVERY_16TH, COMMITS // 16, 15), (Policy.GROUP, COMMITS, 0), (Policy.EVERY, COMMITS, 0)],
)
def test_each_policy_flushes_as_often_as_it_says_and_risks_as_much(
    tmp_path: Path, flushed: list[int], policy: Policy, flushes: int, at_risk: int
) -> None:
    with AppendLog(tmp_path / "log", LogKind(policy, record_byte=128)) as log:
        for number in range(COMMITS):
            log.commit(number)
        # Somebody who commits alone shares a group's flush with nobody.
        assert (len(flushed), log.flushes, log.at_risk) == (flushes, flushes, at_risk)
        assert log.keeps_its_promise(COMMITS)
    assert (tmp_path / "log").stat().st_size == COMMITS * 128


@pytest.mark.parametrize("policy", PROMISES)
def test_a_promise_that_was_not_kept_is_noticed(tmp_path: Path, policy: Policy) -> None:
    with AppendLog(tmp_path / "log", LogKind(policy, record_byte=128)) as log:
        for number in range(COMMITS):
            log.commit(number)
        log.flushes = 1 if policy is Policy.NEVER else 0
        assert not log.keeps_its_promise(COMMITS)
        log.flushes = COMMITS + 1
        assert not log.keeps_its_promise(COMMITS)


@pytest.mark.parametrize("policy", [Policy.EVERY_16TH, Policy.GROUP, Policy.EVERY])
def test_flushes_that_the_device_never_saw_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    monkeypatch.setattr(append_log, "flushes_of_device", lambda _: 7)
    with AppendLog(tmp_path / "log", LogKind(policy, record_byte=128)) as log:
        for number in range(COMMITS):
            log.commit(number)
        assert not log.keeps_its_promise(COMMITS)


@pytest.mark.parametrize("policy", PROMISES)
def test_where_nobody_counts_flushes_our_own_count_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    monkeypatch.setattr(append_log, "flushes_of_device", lambda _: None)
    with AppendLog(tmp_path / "log", LogKind(policy, record_byte=128)) as log:
        for number in range(COMMITS):
            log.commit(number)
        assert log.keeps_its_promise(COMMITS)


def test_what_never_reaches_the_device_is_at_risk_although_a_call_was_made(tmp_path: Path) -> None:
    with AppendLog(tmp_path / "log", LogKind(Policy.EVERY, FlushCall.SYNC_FILE_RANGE, record_byte=128)) as log:
        for number in range(10):
            log.commit(number)
        assert (log.flushes, log.at_risk) == (10, 10)
        assert log.keeps_its_promise(10)


@pytest.mark.parametrize("call", FlushCall)
def test_every_call_writes_the_record_through(tmp_path: Path, flushed: list[int], call: FlushCall) -> None:
    with AppendLog(tmp_path / "log", LogKind(Policy.EVERY, call, record_byte=128)) as log:
        log.commit(0)
        by_open = bool(fcntl.fcntl(log._file, fcntl.F_GETFL) & os.O_DSYNC)
        assert by_open is (call is FlushCall.O_DSYNC)
        assert len(flushed) == (call in (FlushCall.FDATASYNC, FlushCall.FSYNC))
        assert log.keeps_its_promise(1)


def test_a_log_that_never_flushes_does_not_flush_at_its_writes_either(tmp_path: Path) -> None:
    with AppendLog(tmp_path / "log", LogKind(Policy.NEVER, FlushCall.O_DSYNC)) as log:
        assert not fcntl.fcntl(log._file, fcntl.F_GETFL) & os.O_DSYNC


def test_an_appending_ring_starts_over_without_blocks_and_an_overwriting_one_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_log, "RING_BYTE", 1 << 20)
    sizes = {}
    for layout in Layout:
        with AppendLog(tmp_path / layout, LogKind(Policy.NEVER, layout=layout, record_byte=1 << 18)) as log:
            for number in range(5):
                log.commit(number)
        sizes[layout] = (tmp_path / layout).stat().st_size
    assert sizes == {Layout.APPEND: 1 << 18, Layout.OVERWRITE: 1 << 20}


class Gate:
    """Stands in for the flush of a log: says that one has begun, and lets it end when told to."""

    def __init__(self, log: AppendLog) -> None:
        self.begun = threading.Semaphore(0)
        self._may_end = threading.Semaphore(0)
        log._flush = self

    def __call__(self) -> None:
        self.begun.release()
        assert self._may_end.acquire(timeout=60)

    def let_end(self) -> None:
        self._may_end.release()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def test_nobody_returns_from_a_group_commit_before_a_flush_that_covers_their_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gate stands in for the flush, so no device sees one.
    monkeypatch.setattr(append_log, "flushes_of_device", lambda _: None)
    returned: list[int] = []
    with AppendLog(tmp_path / "log", LogKind(Policy.GROUP, record_byte=128)) as log:
        gate = Gate(log)

        def commit(number: int) -> None:
            log.commit(number)
            returned.append(number)

        threads = [threading.Thread(target=commit, args=(number,), daemon=True) for number in range(4)]
        threads[0].start()
        assert gate.begun.acquire(timeout=60)
        for thread in threads[1:]:
            thread.start()
        until(lambda: log._written == 4)
        gate.let_end()
        # The first flush had begun before the others wrote: it covers the first alone, and a second one begins.
        assert gate.begun.acquire(timeout=60)
        threads[0].join(60)
        assert returned == [0]
        gate.let_end()
        for thread in threads:
            thread.join(60)
        assert sorted(returned) == [0, 1, 2, 3]
        assert (log.flushes, log.at_risk) == (2, 0)
        assert log.keeps_its_promise(4)


def test_a_group_shares_its_flushes_and_each_return_follows_one_that_began_after_the_write(tmp_path: Path) -> None:
    story: list[tuple[str, int]] = []
    with AppendLog(tmp_path / "log", LogKind(Policy.GROUP, record_byte=128)) as log:
        append, flush = log._append, log._flush
        mine = threading.local()

        def told_append() -> None:
            append()
            mine.record = sum(word == "written" for word, _ in story)
            story.append(("written", mine.record))

        def told_flush() -> None:
            story.append(("flush begins", 0))
            flush()
            story.append(("flush ends", 0))

        log._append, log._flush = told_append, told_flush  # type: ignore[method-assign]

        def commit_some() -> None:
            for number in range(25):
                log.commit(number)
                story.append(("returned", mine.record))

        threads = [threading.Thread(target=commit_some, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert log.flushes < 200
    begins = [place for place, (word, _) in enumerate(story) if word == "flush begins"]
    ends = [place for place, (word, _) in enumerate(story) if word == "flush ends"]
    assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False)), "two flushes at once"
    written = {record: place for place, (word, record) in enumerate(story) if word == "written"}
    returned = {record: place for place, (word, record) in enumerate(story) if word == "returned"}
    assert len(written) == len(returned) == 200
    for record, place in returned.items():
        assert any(written[record] < begin and end < place for begin, end in zip(begins, ends, strict=True)), record


def test_a_flush_that_fails_fails_everybody_who_waits_for_it_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    failures: list[str] = []
    with AppendLog(tmp_path / "log", LogKind(Policy.GROUP, record_byte=128)) as log:
        waiting = threading.Semaphore(0)

        def fail() -> None:
            assert waiting.acquire(timeout=60)
            raise OSError("the disk is gone")

        log._flush = fail

        def commit() -> None:
            try:
                log.commit(0)
            except OSError as failure:
                failures.append(str(failure))

        threads = [threading.Thread(target=commit, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: log._written == 3)
        waiting.release(3)
        for thread in threads:
            thread.join(30)
        assert failures == ["the disk is gone"] * 3


@given(number=st.integers(0, 2**64 - 1), record_byte=st.integers(12, 5_000))
def test_a_packed_record_has_its_size_and_no_other_number_packs_alike(number: int, record_byte: int) -> None:
    record = pack(number, record_byte)
    assert len(record) == record_byte
    assert record != pack((number + 1) % 2**64, record_byte)


@pytest.mark.parametrize("record_byte", [16, 512, 4096])
def test_what_was_packed_is_read_back_and_what_was_damaged_is_torn(tmp_path: Path, record_byte: int) -> None:
    records = [pack(number, record_byte) for number in range(20)]
    random = Random(4)
    damaged = dict.fromkeys(random.sample(range(20), 5))
    for number in damaged:
        record = bytearray(records[number])
        record[random.randrange(8, record_byte)] ^= 1 << random.randrange(8)
        records[number] = bytes(record)
    (tmp_path / "log").write_bytes(b"".join(records) + pack(99, record_byte)[:-1])
    found = read_log(tmp_path, record_byte=record_byte)
    assert found.whole == frozenset(range(20)) - damaged.keys()
    assert found.torn == 5 + 1


def test_a_hole_is_torn_and_a_log_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert read_log(tmp_path, record_byte=512).whole == frozenset()
    (tmp_path / "log").write_bytes(pack(0, 512) + bytes(512) + pack(2, 512))
    found = read_log(tmp_path, record_byte=512)
    assert (found.whole, found.torn) == (frozenset({0, 2}), 1)


def written(folder: Path, policy: Policy, most: int) -> list[Operation]:
    make_log(folder)
    calls: list[Operation] = []
    with Files(folder, lambda _: None, tell=calls.append) as files:
        write_records(files, policy, record_byte=512, most=most)
    return calls


@pytest.mark.parametrize("policy", Policy)
def test_the_writer_of_a_crash_acknowledges_each_record_after_its_write_and_once(tmp_path: Path, policy: Policy) -> None:
    calls = written(tmp_path, policy, 40)
    acknowledged = [call.number for call in calls if isinstance(call, Acknowledge)]
    assert acknowledged == list(range(32 if policy is Policy.GROUP else 40))
    assert read_log(tmp_path, record_byte=512).whole == frozenset(range(40))
    writes = [place for place, call in enumerate(calls) if isinstance(call, Write)]
    promises = [place for place, call in enumerate(calls) if isinstance(call, Acknowledge)]
    assert all(writes[number] < promises[place] for place, number in enumerate(acknowledged))


@pytest.mark.parametrize(
    ("policy", "most_at_risk"),
    [(Policy.EVERY, 0), (Policy.GROUP, 0), (Policy.EVERY_16TH, 15), (Policy.NEVER, 40), (Policy.LYING, 40)],
)
def test_the_writer_of_a_crash_keeps_as_much_at_risk_as_its_policy_says(tmp_path: Path, policy: Policy, most_at_risk: int) -> None:
    unflushed: set[int] = set()
    at_risk, written_so_far, promised = 0, 0, set[int]()
    for call in written(tmp_path, policy, 40):
        match call:
            case Write():
                unflushed.add(written_so_far)
                written_so_far += 1
            case Flush():
                unflushed.clear()
            case Acknowledge(number):
                promised.add(number)
        at_risk = max(at_risk, len(promised & unflushed))
    assert at_risk <= most_at_risk
    if policy in (Policy.NEVER, Policy.EVERY_16TH):
        assert at_risk == most_at_risk
    assert policy is not Policy.LYING or at_risk > 0


def test_the_flushes_of_a_batch_come_sixteen_records_apart(tmp_path: Path) -> None:
    for policy in (Policy.EVERY_16TH, Policy.GROUP):
        folder = tmp_path / policy
        folder.mkdir()
        calls = [call for call in written(folder, policy, 64) if isinstance(call, Write | Flush)]
        places = [-1, *(place for place, call in enumerate(calls) if isinstance(call, Flush))]
        assert [later - earlier for earlier, later in pairwise(places)] == [17] * 4
