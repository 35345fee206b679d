"""What a commit costs under each durability promise, and how many acknowledged records stand unprotected meanwhile."""

from collections.abc import Generator
from typing import Any

from mastery.components.disk import Folder, ScratchDisk
from mastery.components.fio import FioCommit
from mastery.lab import Arm, Claim, Closed, Documented, Factor, Metric, Reference, Result, experiment, ratio, worst
from mastery.workloads.append_log import AppendLog, FlushCall, Layout, LogKind, Policy

DETAILS = {"call", "layout", "record"}


def makes_sense(arm: Arm) -> bool:
    """Promises under every number of committers, details one at a time beside the baseline; a group needs company."""
    if arm.call == "o_dsync" and arm.sync != "every":
        return False
    if arm.differs & DETAILS:
        return len(arm.differs) == 1
    alone = arm.committers == 1
    return bool({"never": alone, "group": not alone}.get(arm.sync, True))


@experiment(
    id="fsync-cost",
    question="What does each durability promise cost per commit, and how many records does it leave at risk?",
    factors=[
        Factor("sync", ["never", "every_16th", "group", "every"], "every",
               meaning="flushed never, one in sixteen, shared by those who wait, or each on its own"),
        Factor("call", ["fdatasync", "fsync", "o_dsync", "sync_file_range"], "fdatasync", quick=["fdatasync"],
               meaning="the system call that flushes"),
        Factor("layout", ["append", "overwrite"], "append", quick=["append"], meaning="the file grows, or its blocks are there"),
        Factor("record", [128, 4096], 4096, unit="B", quick=[4096], meaning="size of one record"),
        Factor("committers", [1, 8, 32], 1, quick=[1, 8], meaning="how many commit at the same time"),
    ],
    only=makes_sense,
    metrics=[
        Metric("p50", "s", better="lower", primary=True, meaning="median time from write to acknowledgement"),
        Metric("p99", "s", better="lower"),
        Metric("throughput", "op/s", better="higher", meaning="acknowledged commits a second, all committers together"),
        Metric("at_risk", "record", better="lower", role="guardrail", meaning="acknowledged and unflushed at one instant"),
    ],
    load=lambda arm: Closed(threads=arm.committers),
    resources={"disk": ScratchDisk(free="1 GiB")},
    writes="a log of at most 64 MiB per trial",
    smallest_effect=0.10,
    claims=[
        Claim("durability-costs", ratio("p50", "never", over="every") <= 0.1,
              text="A commit that waits for the disk takes at least ten times as long as one that does not.",
              because="a flush is a command to the device, a write a copy of memory; written 2026-11-22"),
        Claim("group-commit-pays", ratio("throughput", "group", over="every", at={"committers": 8}) >= 3,
              text="Eight committers that share their flushes get at least three times the commits, at no risk.",
              because="one flush covers up to eight records; three leaves room for the hand-over; written 2026-11-22"),
        Claim("batching-risks-fifteen", worst("at_risk", at={"sync": "every_16th"}) <= 15,
              text="Flushing every 16th commit leaves at most 15 acknowledged records at risk.",
              because="the sixteenth waits for the flush of all; written 2026-11-22"),
        Claim("promises-hold", worst("at_risk") <= 0,
              text="A flush at each commit leaves no acknowledged record at risk.",
              because="nothing is acknowledged before its flush; written 2026-11-22"),
    ],
    documented=[
        Documented("at_risk", None, "sync_file_range(2): neither metadata nor the drive's cache", {"call": "sync_file_range"}),
        Documented("at_risk", None, "the kernel writes back by age, not by count (dirty_expire_centisecs)", {"sync": "never"}),
        Documented("at_risk", 15, "fsync(2), and a flush in sixteen", {"sync": "every_16th"}),
    ],
    references=[Reference("fio-fdatasync", FioCommit(), metric="p50", within=1.3)],
)  # fmt: skip
def fsync_cost(arm: Arm, disk: Folder) -> Generator[Any, Result, None]:
    """Commits records to one log file; acknowledged by `arm.sync`, flushed by `arm.call`."""
    kind = LogKind(Policy(arm.sync), FlushCall(arm.call), Layout(arm.layout), arm.record)
    with AppendLog(disk.path / "log", kind) as log:
        result = yield log.commit
        result.in_effect("flushes as promised, and seen by the device", log.keeps_its_promise(result.operations), True)
        result.record(at_risk=log.at_risk)
