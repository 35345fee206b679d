"""An append-only log of records and its durability policies: what databases, brokers and consensus logs do at a commit."""

import ctypes
import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from mastery.components.crash_states import POSIX, Exploration, explore, tally
from mastery.components.file_operations import Files, Operation
from mastery.components.power_cut import Aftermath, Argument, WriterCall

# A log never grows beyond this: it starts over, so that an arm that never waits for the disk cannot fill it.
RING_BYTE = 64 << 20
EVERY = 16
# A writer that is to be cut never gets so far; one whose states are enumerated must be short, yet hold a whole batch.
MOST_RECORDS = 100_000
FEW_RECORDS = 20
# How far behind its acknowledgements the lying log flushes.
LIE_S = 0.01
_FLUSHES = 15  # of /sys/block/DEV/stat, counted from 0 (kernel's iostats documentation; since 5.5)
_HEADER = struct.Struct("<QI")
_WAIT_WRITE_WAIT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER


class Policy(StrEnum):
    """When a commit is acknowledged, relative to the flush that makes it safe."""

    NEVER = "never"
    EVERY_16TH = "every_16th"  # batching: the flush of one commit in sixteen, the others go unprotected until then
    GROUP = "group"  # group commit: waiting writers share a flush, and nobody returns before it
    EVERY = "every"
    LYING = "lying"  # acknowledges at once and flushes behind its back; only a crash experiment has it


class FlushCall(StrEnum):
    """The system call that flushes."""

    FDATASYNC = "fdatasync"
    FSYNC = "fsync"
    O_DSYNC = "o_dsync"
    # Starts and awaits write-back, but neither the file's metadata nor the drive's cache: no promise after a power cut.
    SYNC_FILE_RANGE = "sync_file_range"


class Layout(StrEnum):
    """Whether a record makes the file longer or falls on blocks that were written before."""

    APPEND = "append"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class LogKind:
    """How one log is written."""

    policy: Policy
    call: FlushCall = FlushCall.FDATASYNC
    layout: Layout = Layout.APPEND
    record_byte: int = 4096


class AppendLog:
    """One log file. `commit(i)` writes one record and returns when the policy acknowledges it."""

    def __init__(self, path: Path, kind: LogKind) -> None:
        self.kind = kind
        self.flushes = 0
        # The greatest number of records that were acknowledged and not flushed at one instant.
        self.at_risk = 0
        self._unflushed = 0
        self._written = 0
        self._flushed = 0
        self._offset = 0
        self._is_flushing = False
        self._turn = threading.Condition()
        self._record = os.urandom(kind.record_byte)
        direct = os.O_DSYNC if kind.call is FlushCall.O_DSYNC and self._promises else 0
        if kind.layout is Layout.OVERWRITE:
            _write_whole(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | direct, 0o600)
        self._flush = _flusher(kind.call, self._file)
        self._device_flushes = flushes_of_device(self._file)
        self.commit: Callable[[int], None] = {
            Policy.NEVER: self._commit_never,
            Policy.EVERY_16TH: self._commit_every_16th,
            Policy.GROUP: self._commit_group,
            Policy.EVERY: self._commit_every,
        }[kind.policy]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._file)

    def keeps_its_promise(self, commits: int) -> bool:
        """The manipulation check: as many flushes as the policy says, and the kernel and the device saw them too.

        The file's own flags say whether O_DSYNC is in effect; the device's count of flush requests, where it has a cache
        that needs them, must rise at least half as fast as ours: it may merge requests, and others may add theirs.
        """
        expected = {
            Policy.NEVER: range(1),
            Policy.EVERY_16TH: range(commits // EVERY, commits // EVERY + 1),
            Policy.EVERY: range(commits, commits + 1),
        }.get(self.kind.policy, range(1, commits + 1))
        is_direct = bool(fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_DSYNC)
        if self.flushes not in expected or is_direct != (self.kind.call is FlushCall.O_DSYNC and self._promises):
            return False
        before, after = self._device_flushes, flushes_of_device(self._file)
        if before is None or after is None or not self._reaches_the_device:
            return True
        return after - before >= self.flushes // 2

    @property
    def _promises(self) -> bool:
        return self.kind.policy is not Policy.NEVER

    @property
    def _reaches_the_device(self) -> bool:
        """sync_file_range asks for write-back and never for a flush of the drive's cache: it protects from no power cut."""
        return self._promises and self.kind.call is not FlushCall.SYNC_FILE_RANGE

    def _append(self) -> None:
        if self._offset + self.kind.record_byte > RING_BYTE:
            self._offset = 0
            if self.kind.layout is Layout.APPEND:
                # Starting over must append again, not overwrite: a truncated file has no blocks.
                os.ftruncate(self._file, 0)
        os.pwrite(self._file, self._record, self._offset)
        self._offset += self.kind.record_byte

    def _commit_never(self, _: int) -> None:
        with self._turn:
            self._append()
            self.at_risk += 1

    def _commit_every(self, _: int) -> None:
        # One flush a commit and one after the other: what a log without group commit does under many writers.
        with self._turn:
            self._append()
            self._flush()
            self.flushes += 1
            if not self._reaches_the_device:
                self.at_risk += 1

    def _commit_every_16th(self, _: int) -> None:
        with self._turn:
            self._append()
            self._unflushed += 1
            if self._unflushed == EVERY:
                self._flush()
                self.flushes += 1
                self._unflushed = 0
            self.at_risk = max(self.at_risk, self._unflushed)

    def _commit_group(self, _: int) -> None:
        with self._turn:
            self._append()
            self._written += 1
            mine = self._written
            while self._flushed < mine:
                if self._is_flushing:
                    self._turn.wait()
                    continue
                # The first that finds nobody flushing flushes for all who have written so far.
                self._is_flushing = True
                covers = self._written
                self._turn.release()
                try:
                    self._flush()
                finally:
                    self._turn.acquire()
                    self._is_flushing = False
                    # After a flush that failed, too: whoever waits for it tries by itself and learns why.
                    self._turn.notify_all()
                self.flushes += 1
                self._flushed = covers


def flushes_of_device(file: int) -> int | None:
    """How many flush requests the file's device has completed; None where it needs none, or the kernel does not count them."""
    device = os.fstat(file).st_dev
    folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    # A partition has neither a cache nor a count of its own; its disk is the folder around it.
    whole = folder.resolve().parent if (folder / "partition").exists() else folder
    try:
        needs_them = (whole / "queue" / "write_cache").read_text().strip() == "write back"
        fields = (whole / "stat").read_text().split()
    except OSError:
        return None
    return int(fields[_FLUSHES]) if needs_them and len(fields) > _FLUSHES else None


def _write_whole(path: Path) -> None:
    """Gives the file its blocks before it is measured; a preallocated one would still be converted at its first write."""
    with path.open("wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(RING_BYTE // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _flusher(call: FlushCall, file: int) -> Callable[[], None]:
    match call:
        case FlushCall.FDATASYNC:
            return lambda: os.fdatasync(file)
        case FlushCall.FSYNC:
            return lambda: os.fsync(file)
        case FlushCall.O_DSYNC:
            # The write itself has flushed.
            return lambda: None
        case FlushCall.SYNC_FILE_RANGE:
            return lambda: _sync_file_range(file)


def _sync_file_range(file: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _WAIT_WRITE_WAIT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# The same policies for a crash: numbered records with a checksum, so that a reader can tell whole from torn.


def pack(number: int, record_byte: int) -> bytes:
    """A record of `record_byte` bytes: number, checksum, and a payload that the number decides."""
    payload = (number.to_bytes(8, "little") * (record_byte // 8 + 1))[: record_byte - _HEADER.size]
    return _HEADER.pack(number, zlib.crc32(payload, number & 0xFFFF_FFFF)) + payload


def write_until_killed(folder: Path, acknowledge: Callable[[int], None], *, policy: str, record_byte: int, most: int) -> None:
    """The writer of a crash experiment: appends records 0, 1, ... and acknowledges each as the policy allows."""
    with Files(folder, acknowledge) as files:
        write_records(files, Policy(policy), record_byte=record_byte, most=most)


def write_records(files: Files, policy: Policy, *, record_byte: int, most: int) -> None:
    """What the writer does, call by call."""
    log = files.open("log")
    waiting: list[int] = []
    flushed = time.monotonic()
    for number in range(most):
        files.append(log, pack(number, record_byte))
        waiting.append(number)
        match policy:
            case Policy.NEVER:
                pass
            case Policy.LYING:
                files.acknowledge(waiting.pop())
                if time.monotonic() - flushed > LIE_S:
                    files.flush(log)
                    flushed = time.monotonic()
            case Policy.EVERY:
                files.flush(log)
            case Policy.EVERY_16TH:
                if number % EVERY == EVERY - 1:
                    files.flush(log)
            case Policy.GROUP:
                # Sixteen writers in one: all wait for the flush that they share.
                if len(waiting) < EVERY:
                    continue
                files.flush(log)
        for each in waiting:
            files.acknowledge(each)
        waiting.clear()


def make_log(folder: Path, **_: object) -> None:
    """Makes the empty log before the writer starts; the place flushes it, so that only records are at stake."""
    (folder / "log").touch()


def writing(*, policy: str, record_byte: int) -> WriterCall:
    """The call that a place runs until it is cut."""
    arguments: dict[str, Argument] = {"policy": policy, "record_byte": record_byte, "most": MOST_RECORDS}
    return WriterCall(f"{__name__}:write_until_killed", arguments, prepare=f"{__name__}:make_log")


@dataclass(frozen=True, slots=True)
class LogLeft:
    """What a crash left of a log, in the metrics of the experiment and the notes beside them."""

    metrics: dict[str, float]
    notes: dict[str, Any]


def judge_log(after: Aftermath, *, record_byte: int) -> LogLeft:
    """Holds what was acknowledged, outside of what was cut, against what can be read after the restart."""
    found = read_log(after.folder, record_byte=record_byte)
    recent = frozenset(after.acknowledged_since_journal_write)
    metrics = {
        "acknowledged": len(after.acknowledged),
        "found": len(found.whole),
        "torn": found.torn,
        "lost": len(frozenset(after.acknowledged) - found.whole),
        "lost_share": len(recent - found.whole) / max(1, len(recent)),
    }
    return LogLeft(metrics, {"kind": after.kind, "models": after.models, "cut_after_s": after.cut_after_s})


def states_after(folder: Path, *, policy: str, record_byte: int) -> Callable[[], Exploration]:
    """What a crash at any call of a short log may leave, worked out from the calls themselves when it is called."""

    def work_out() -> Exploration:
        make_log(folder)
        calls: list[Operation] = []
        with Files(folder, lambda _: None, tell=calls.append) as files:
            write_records(files, Policy(policy), record_byte=record_byte, most=FEW_RECORDS)
        return explore(calls, POSIX, before={"log": b""})

    return work_out


def judge_states(explored: Exploration, *, record_byte: int) -> LogLeft:
    """The worst of all states: possibilities, not frequencies."""
    worst_case = tally(explored, lambda files: _records_in(files.get("log", b""), record_byte))
    notes = {"orders_tried": explored.tried, "orders_total": explored.total, "model": explored.model.name}
    return LogLeft({"lost": worst_case.worst_lost, "torn": worst_case.worst_torn}, notes)


def _records_in(data: bytes, record_byte: int) -> dict[int, bool]:
    """Every record whose number can be read, and whether it is whole."""
    found: dict[int, bool] = {}
    for start in range(0, len(data), record_byte):
        record = data[start : start + record_byte]
        if len(record) >= _HEADER.size and any(record):
            number = _HEADER.unpack_from(record)[0]
            found[number] = record == pack(number, record_byte)
    return found


@dataclass(frozen=True, slots=True)
class LogFound:
    """What a reader finds in a log after a crash."""

    whole: frozenset[int]
    torn: int


def read_log(folder: Path, *, record_byte: int) -> LogFound:
    """Reads every record; one whose checksum does not fit is torn. A log that is gone holds nothing."""
    path = folder / "log"
    data = path.read_bytes() if path.exists() else b""
    found = _records_in(data, record_byte)
    whole = frozenset(number for number, is_whole in found.items() if is_whole)
    return LogFound(whole, -(-len(data) // record_byte) - len(whole))
