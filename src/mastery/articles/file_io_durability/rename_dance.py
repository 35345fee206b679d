"""What stands under a file's name after a power cut, when it was replaced by write and rename with and without flushes."""

from collections.abc import Generator
from typing import Any

from mastery.components.crash_places import Cut
from mastery.components.crash_site import CrashSite, CrashSiteOf
from mastery.components.power_cut import Since
from mastery.lab import Arm, Claim, Crash, Factor, Metric, Result, experiment, worst
from mastery.workloads.rename import dancing, read_name

SECONDS = {"at_once": (0.0, 0.02), "after_another_fsync": (0.0, 0.02), "after_7_s": (7.0, 7.2)}


@experiment(
    id="rename-dance",
    question="Write a temporary file, rename it over the old one: what is there after a power cut?",
    factors=[
        Factor("flush", ["file_and_folder", "file", "nothing"], "file_and_folder", quick=["file_and_folder", "nothing"],
               meaning="what is flushed: the file before the rename, and the folder after it"),
        Factor("name", ["replacing", "new"], "replacing", meaning="the name had an old file, or none"),
        Factor("file_system", ["ext4", "ext4_noauto", "xfs"], "ext4",
               meaning="ext4 flushes a file that replaces another by itself, unless mounted with noauto_da_alloc"),
        Factor("cut", ["after_another_fsync", "at_once", "after_7_s"], "after_another_fsync", quick=["after_another_fsync"],
               meaning="after the flush of an unrelated file, at once, or after the journal's own 5 s"),
    ],
    # Seven seconds a cut are spent where they can show something: on the dance without any flush.
    only=lambda arm: arm.cut != "after_7_s" or arm.flush == "nothing",
    metrics=[
        Metric("damaged", "trial", role="guardrail", primary=True, meaning="neither the old nor the new content"),
        Metric("lost", "trial", role="guardrail", meaning="acknowledged, and the new content is not there"),
        Metric("empty", "trial", role="guardrail", meaning="the name is there, with nothing in it"),
        Metric("absent", "trial", role="guardrail", meaning="the name is not there"),
        Metric("torn", "trial", role="guardrail", meaning="content that nobody wrote"),
        Metric("stray", "trial", role="guardrail", meaning="the temporary name was left behind"),
        Metric("new", "trial", better="higher", role="cost", meaning="the new content, whole"),
    ],
    resources={
        "ext4": CrashSiteOf(Cut.EXT4),
        "ext4_noauto": CrashSiteOf(Cut.EXT4_NOAUTO),
        "xfs": CrashSiteOf(Cut.XFS),
    },
    needs=lambda arm: [arm.file_system],
    overhead_s=0.7,
    writes="disk images of ours, and a few small files in them",
    claims=[
        Claim("full-dance-is-safe", worst("lost", every_level="file_system") <= 0,
              text="With the file and the folder flushed, the new content is there after every cut, on every file system.",
              because="fsync of the file, then of the folder, is what fsync(2) asks for; written 2026-11-22"),
        Claim("replacing-is-forgiven", worst("damaged", at={"flush": "nothing"}) <= 0,
              text="ext4 as it is mounted by default forgives a replacing rename without any flush.",
              because="auto_da_alloc allocates the blocks of a file that replaces another; written 2026-11-22"),
        Claim("new-name-is-empty", worst("empty", at={"flush": "nothing", "name": "new"}) >= 1,
              text="Under a new name the same program leaves an empty file: the name is in the journal, the data is not.",
              because="the journal's flush carries the rename, delayed allocation has no block yet; written 2026-11-22"),
    ],
)  # fmt: skip
def rename_dance(arm: Arm, **sites: CrashSite) -> Generator[Any, Result, None]:
    """Dances once on a file system of ours, cuts, mounts it again and looks."""
    replacing = arm.name == "replacing"
    dance = dancing(replacing=replacing, flush=arm.flush, flush_another=arm.cut == "after_another_fsync")
    result = yield Crash(sites[arm.file_system], dance, after_s=SECONDS[arm.cut], since=Since.DONE)
    found = read_name(result.value.folder)
    result.record(**found.metrics(replacing=replacing))
    result.note(outcome=found.outcome.value, kind=result.value.kind)
