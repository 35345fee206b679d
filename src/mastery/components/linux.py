"""The few calls of the Linux kernel that Python 3.11 does not offer, each raising OSError when it is refused."""

import ctypes
import os
import signal
import sys
from functools import cache
from pathlib import Path

IS_LINUX = sys.platform.startswith("linux")

CLONE_NEWNS = 0x0002_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_REC, MS_SLAVE = 0x4000, 0x8_0000
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOP_CLR_FD = 0x4C01


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(answer: int, call: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leaves the namespaces named by `flags`; a new pid namespace holds only the children made afterwards."""
    _check(_libc().unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: Path, kind: str, flags: int = 0, *, options: str = "") -> None:
    """mount(2); the strings are passed as the file system's own driver wants them."""
    answer = _libc().mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode() if options else None
    )
    _check(answer, f"mount {kind} on {target}")


def unmount(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc().umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def signal_at_death_of_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Asks for `number` when the thread that forked us ends; a change of credentials may clear it."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends."""
    _check(_libc().prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER")


def map_one_user(*, inside_user: int, inside_group: int, outside_user: int, outside_group: int) -> None:
    """Names our user inside the user namespace just entered: only one can be mapped without privilege."""
    # The kernel wants group changes given up first: a group may also deny access, and leaving it would grant it.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside_user} {outside_user} 1")
    Path("/proc/self/gid_map").write_text(f"{inside_group} {outside_group} 1")


def call_ourselves(inside_user: int) -> None:
    """Enters a user namespace in which we have another number: for a program that refuses root. No user is created."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    map_one_user(inside_user=inside_user, inside_group=inside_user, outside_user=user, outside_group=group)


def detach_loop(device: Path) -> None:
    """Frees a loop device, at once or as soon as its last user is gone."""
    import fcntl

    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _LOOP_CLR_FD)
    finally:
        os.close(descriptor)
