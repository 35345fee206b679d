"""Linux namespaces and process death, by system call: no root where the kernel allows it, and no external program.

As a program, `python -m mastery.components.namespaces PLACE -- COMMAND...` runs a command inside one host of a network.
"""

import ctypes
import os
import sys
from dataclasses import dataclass

from mastery.components.linux import CLONE_NEWUSER, map_one_user, signal_at_death_of_parent, unshare

CLONE_NEWNET = 0x40000000
PR_GET_PDEATHSIG = 2
PR_SET_TIMERSLACK = 29
URGENT = -15


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host of a network lives: paths of its namespaces, plain values that another process can enter.

    The paths lead through the process that holds the namespaces; when it dies they are gone, and with them the network.
    `user` is empty where root needed no user namespace.
    """

    network: str
    user: str = ""

    def as_text(self) -> str:
        return f"{self.user}:{self.network}"

    @classmethod
    def from_text(cls, text: str) -> "Place":
        user, _, network = text.partition(":")
        return cls(network, user)


def join(descriptor: int, kind: int) -> None:
    """Moves this thread into the namespace behind an open file of /proc/PID/ns."""
    if _libc().setns(descriptor, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def own_network() -> int:
    """An open descriptor of this process's network namespace; the namespace lives as long as it is open."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def become_owner_of_a_network() -> bool:
    """Puts this process into a network namespace of its own; True when that took a user namespace.

    Tried by doing: a root of a container may lack the right, and an ordinary user may have it.
    """
    try:
        unshare(CLONE_NEWNET)
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        # The identity: programs inside see the same user as outside, and PostgreSQL does not see a root.
        map_one_user(inside_user=user, inside_group=group, outside_user=user, outside_group=group)
        return True
    return False


def enter(place: Place) -> None:
    """Moves this process into a host for good. It must have one thread only, where a user namespace is involved."""
    if place.user:
        join_path(place.user, CLONE_NEWUSER)
    join_path(place.network, CLONE_NEWNET)


def join_path(path: str, kind: int) -> None:
    """Moves this thread into the namespace at a path such as /proc/PID/ns/net."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        join(descriptor, kind)
    finally:
        os.close(descriptor)


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when the thread that started it ends, also when that already happened.

    Call it after entering namespaces: a change of credentials clears the wish. `parent` is the pid of the process
    that started this one, taken before it did.
    """
    signal_at_death_of_parent()
    if os.getppid() != parent:
        os._exit(1)


def wake_up_exactly() -> None:
    """Timers of this thread fire on time instead of up to 50 microseconds late, and ahead of others where we may."""
    _libc().prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, URGENT)
    except PermissionError:
        # An ordinary user takes turns with everybody; the proof tells whether that was good enough.
        return


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _death_wish() -> int:
    wish = ctypes.c_int()
    _libc().prctl(PR_GET_PDEATHSIG, ctypes.byref(wish), 0, 0, 0)
    return wish.value


def main(words: list[str]) -> None:
    """`PLACE -- COMMAND...`: this process becomes the command, inside the place, and dies with its parent as before."""
    place, _dashes, *command = words
    parent, wish = os.getppid(), _death_wish()
    enter(Place.from_text(place))
    if wish:
        die_with_parent(parent)
    os.execvp(command[0], command)  # noqa: S606  the words of a command that we composed; no shell on the way


if __name__ == "__main__":
    main(sys.argv[1:])
