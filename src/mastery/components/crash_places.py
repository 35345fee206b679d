"""Which place serves which kind of cut on this machine: the strongest that can be had, or why none can."""

from enum import StrEnum
from pathlib import Path

from mastery.components.component import Here, Missing
from mastery.components.fuse_cut import FuseCut
from mastery.components.loop_disk import FileSystem
from mastery.components.power_cut import CrashPlace
from mastery.components.process_kill import ProcessKill
from mastery.components.shutdown_cut import ShutdownCut
from mastery.components.uml_cut import UmlCut


class Cut(StrEnum):
    """The cuts by the names that experiments use as levels."""

    PROCESS_KILL = "process_kill"
    POWER_CUT = "power_cut"  # the strongest that can be had, modelled where nothing else is
    EXT4 = "ext4"
    EXT4_NOAUTO = "ext4_noauto_da_alloc"
    XFS = "xfs"
    MODELLED = "modelled"


def places_for(cut: Cut, options: tuple[str, ...] = ()) -> tuple[CrashPlace, ...]:
    """The places that can make this cut, the preferred first; `options` are further mount options."""
    match cut:
        case Cut.PROCESS_KILL:
            return (ProcessKill(),)
        case Cut.POWER_CUT:
            return ShutdownCut(FileSystem.EXT4, options), UmlCut(options), FuseCut()
        case Cut.MODELLED:
            return (FuseCut(),)
        case Cut.EXT4:
            return ShutdownCut(FileSystem.EXT4, options), UmlCut(options)
        case Cut.EXT4_NOAUTO:
            options = ("noauto_da_alloc", *options)
            return ShutdownCut(FileSystem.EXT4, options), UmlCut(options)
        case Cut.XFS:
            return (ShutdownCut(FileSystem.XFS, options),)


def find_place(cut: Cut, folder: Path, options: tuple[str, ...] = ()) -> tuple[CrashPlace, Here] | Missing:
    """The first place that works here, tried out in `folder` (at most a few seconds), or all the reasons together."""
    missing = []
    for place in places_for(cut, options):
        found = place.find(folder)
        if isinstance(found, Here):
            return place, found
        missing.append(found)
    return Missing(" ".join(each.reason for each in missing), " Or: ".join(each.remedy for each in missing))
