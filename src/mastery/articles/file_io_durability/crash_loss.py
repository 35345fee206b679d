"""What a crash takes from a log: acknowledged records that are gone, by durability policy and by kind of crash."""

from collections.abc import Generator
from functools import partial
from typing import Any

from mastery.components.crash_places import Cut
from mastery.components.crash_site import CrashSite, CrashSiteOf
from mastery.components.power_cut import WriterCall
from mastery.lab import Arm, Claim, Crash, Factor, Metric, Once, Result, experiment, least, worst
from mastery.workloads.append_log import Policy, crash_states, read_log

WRITER = "mastery.workloads.append_log:write_until_killed"
MAKER = "mastery.workloads.append_log:make_log"
# So few that every state can be looked at, and more than one batch of sixteen.
RECORDS = 20


@experiment(
    id="crash-loss",
    question="Which acknowledged records does a crash take, and does it matter what crashed?",
    factors=[
        Factor(
            "sync",
            ["every", "group", "every_16th", "never", "lying"],
            baseline="every",
            quick=["every", "every_16th", "never", "lying"],
            meaning="when a record is acknowledged; `lying` does so at once and flushes 10 ms later",
        ),
        Factor(
            "crash",
            ["power_cut", "process_kill", "enumerated"],
            baseline="power_cut",
            meaning="the machine loses power; only the writer is killed (SIGKILL); or every state that POSIX lets a crash leave",
        ),
        Factor("record", [512, 4096], unit="B", baseline=512, quick=[512], meaning="size of one record"),
    ],
    metrics=[
        Metric(
            "lost", "record", better="lower", role="guardrail", primary=True, meaning="acknowledged, and gone after the restart"
        ),
        Metric("torn", "record", better="lower", role="guardrail", meaning="in the file, with a checksum that does not fit"),
        Metric(
            "lost_share",
            "share",
            better="lower",
            role="guardrail",
            meaning="lost, of all that was acknowledged since the journal was last written",
        ),
        Metric("acknowledged", "record", better="higher", meaning="acknowledged up to the crash"),
        Metric("found", "record", better="higher", meaning="whole and readable after the restart"),
    ],
    resources={
        "power_cut": CrashSiteOf(Cut.POWER_CUT, options=("commit=300",)),
        "process_kill": CrashSiteOf(Cut.PROCESS_KILL),
    },
    needs=lambda arm: ["power_cut" if arm.crash == "power_cut" else "process_kill"],
    overhead_s=0.8,
    writes="a disk image of ours, and a log in it",
    claims=[
        Claim(
            "promises-survive",
            worst("lost", every_level="crash") <= 0,
            because="nothing is acknowledged before its flush; written 2026-11-22",
            text="A policy that flushes before it acknowledges loses nothing, whatever crashes.",
        ),
        Claim(
            "batching-loses-fifteen",
            worst("lost", at={"sync": "every_16th"}) <= 15,
            because="the sixteenth waits for the flush of all; written 2026-11-22",
            text="Flushing every 16th record loses at most 15.",
        ),
        Claim(
            "never-loses-nearly-all",
            least("lost_share", at={"sync": "never"}) >= 0.9,
            because="the kernel writes back after 30 s at the earliest, the cut comes within one; written 2026-11-22",
            text="Without a flush a power cut takes at least nine in ten of what was acknowledged since the last journal write.",
        ),
        Claim(
            "kill-loses-nothing",
            worst("lost", at={"crash": "process_kill"}, every_level="sync") <= 0,
            because="write() has copied the record into the kernel, which lives on; written 2026-11-22",
            text="Killing the writer loses nothing that write() returned for, under any policy.",
        ),
        Claim(
            "lie-is-caught",
            worst("lost", at={"sync": "lying"}) >= 1,
            because="up to 10 ms of records stand unprotected at any moment; written 2026-11-22",
            text="A log that acknowledges first and flushes behind its back is caught: it loses what it had promised.",
        ),
    ],
)
def crash_loss(arm: Arm, power_cut: CrashSite, process_kill: CrashSite) -> Generator[Any, Result, None]:
    """Appends records and acknowledges each by policy to a pipe outside of what is cut; then reads what is left."""
    if arm.crash == "enumerated":
        # What is possible rather than what happened: the worst of all states, without a place that could die.
        states = partial(crash_states, process_kill.folder, Policy(arm.sync), record_byte=arm.record, most=RECORDS)
        result = yield Once(states)
        explored, worst_case = result.value
        result.record(lost=worst_case.worst_lost, torn=worst_case.worst_torn)
        result.note(orders_tried=explored.tried, orders_total=explored.total, model=explored.model.name)
        return
    site = power_cut if arm.crash == "power_cut" else process_kill
    call = WriterCall(WRITER, {"policy": arm.sync, "record_byte": arm.record, "most": 100_000}, prepare=MAKER)
    result = yield Crash(site, call, after_s=(0.05, 0.35))
    after = result.value
    found = read_log(after.folder, record_byte=arm.record)
    recent = frozenset(after.acknowledged_since_journal_write)
    result.record(
        acknowledged=len(after.acknowledged),
        found=len(found.whole),
        torn=found.torn,
        lost=len(frozenset(after.acknowledged) - found.whole),
        lost_share=len(recent - found.whole) / max(1, len(recent)),
    )
    result.note(kind=after.kind, models=after.models, cut_after_s=after.cut_after_s)
