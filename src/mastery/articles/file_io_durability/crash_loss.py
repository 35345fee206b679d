"""What a crash takes from a log: acknowledged records that are gone, by durability policy and by kind of crash."""

from collections.abc import Generator
from typing import Any

from mastery.components.crash_places import Cut
from mastery.components.crash_site import CrashSite, CrashSiteOf
from mastery.lab import Arm, Claim, Crash, Documented, Factor, Metric, Once, Result, experiment, least, worst
from mastery.workloads.append_log import judge_log, judge_states, states_after, writing


@experiment(
    id="crash-loss",
    question="Which acknowledged records does a crash take, and does it matter what crashed?",
    factors=[
        Factor("sync", ["every", "group", "every_16th", "never", "lying"], "every", quick=["every", "every_16th", "never", "lying"],
               meaning="when a record is acknowledged; `lying` does so at once and flushes 10 ms later"),
        Factor("crash", ["power_cut", "process_kill", "enumerated"], "power_cut",
               meaning="the power fails; only the writer is killed (SIGKILL); or every state that POSIX lets a crash leave"),
        Factor("record", [512, 4096], 512, unit="B", quick=[512], meaning="size of one record"),
    ],
    metrics=[
        Metric("lost", "record", role="guardrail", primary=True, meaning="acknowledged, and gone after the restart"),
        Metric("torn", "record", role="guardrail", meaning="in the file, with a checksum that does not fit"),
        Metric("lost_share", "share", role="guardrail", meaning="lost, of all acknowledged since the journal was last written"),
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
    documented=[
        Documented("lost", None, "the kernel writes back by age, not by count (dirty_expire_centisecs)", {"sync": "never"}),
        Documented("lost", 15, "fsync(2), and a flush in sixteen", {"sync": "every_16th"}),
    ],
    claims=[
        Claim("promises-survive", worst("lost", every_level="crash") <= 0,
              text="A policy that flushes before it acknowledges loses nothing, whatever crashes.",
              because="nothing is acknowledged before its flush; written 2026-11-22"),
        Claim("group-survives", worst("lost", at={"sync": "group"}, every_level="crash") <= 0,
              text="Nor does a group that shares its flushes.",
              because="everybody in it waits for the flush; written 2026-11-22"),
        Claim("batching-loses-fifteen", worst("lost", at={"sync": "every_16th"}) <= 15,
              text="Flushing every 16th record loses at most 15.",
              because="the sixteenth waits for the flush of all; written 2026-11-22"),
        Claim("never-loses-nearly-all", least("lost_share", at={"sync": "never"}) >= 0.9,
              text="Without a flush a power cut takes at least nine in ten of what was acknowledged since the last journal write.",
              because="the kernel writes back after 30 s at the earliest, the cut comes within one; written 2026-11-22"),
        Claim("kill-loses-nothing", worst("lost", at={"crash": "process_kill"}, every_level="sync") <= 0,
              text="Killing the writer loses nothing that write() returned for, under any policy.",
              because="write() has copied the record into the kernel, which lives on; written 2026-11-22"),
        Claim("lie-is-caught", worst("lost", at={"sync": "lying"}) >= 1,
              text="A log that acknowledges first and flushes behind its back is caught: it loses what it had promised.",
              because="up to 10 ms of records stand unprotected at any moment; written 2026-11-22"),
    ],
)  # fmt: skip
def crash_loss(arm: Arm, power_cut: CrashSite, process_kill: CrashSite) -> Generator[Any, Result, None]:
    """Appends records and acknowledges each by policy to a pipe outside of what is cut; then reads what is left."""
    if arm.crash == "enumerated":
        # What is possible rather than what happened: the worst of all states, without a place that could die.
        result = yield Once(states_after(process_kill.folder, policy=arm.sync, record_byte=arm.record))
        left = judge_states(result.value, record_byte=arm.record)
    else:
        site = power_cut if arm.crash == "power_cut" else process_kill
        result = yield Crash(site, writing(policy=arm.sync, record_byte=arm.record), after_s=(0.05, 0.35))
        left = judge_log(result.value, record_byte=arm.record)
    result.record(**left.metrics)
    result.note(**left.notes)
