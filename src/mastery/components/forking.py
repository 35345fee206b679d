"""Forking in such a way that the child never returns into its parent's code and dies when the parent dies."""

import os
import select
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from mastery.components.linux import IS_LINUX, signal_at_death_of_parent

BUG_STATUS = 70
"""What a child that raised ends with (EX_SOFTWARE); our own exit statuses are all lower."""


@dataclass(frozen=True, slots=True)
class Tether:
    """Ties the life of a child to its parent's; `fasten` must be called in the child."""

    reads: int
    writes: int

    def fasten(self) -> None:
        """From here on the kernel kills us when the parent ends; ends us at once if it already has.

        May be called again after a change of credentials, which may make the kernel forget.
        """
        if IS_LINUX:
            signal_at_death_of_parent()
        # The parent may have died before the line above. Its pid tells nothing (0 inside a new pid namespace, a
        # subreaper's elsewhere), but only the parent holds the other end of this pipe.
        poll = select.poll()
        poll.register(self.reads, select.POLLIN)
        if poll.poll(0):
            os._exit(BUG_STATUS)


def fork(child: Callable[[], int]) -> int:
    """Forks and runs `child` there, whose answer is its exit status; the parent gets the pid.

    The caller must be single-threaded: locks held by other threads would stay locked in the child for ever.
    """
    _flush()
    pid = os.fork()
    if pid:
        return pid
    status = BUG_STATUS
    try:
        status = child()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        # Without os._exit the child would run the parent's `finally` blocks and exit handlers a second time.
        try:
            _flush()
        finally:
            os._exit(status & 0xFF)


def fork_tethered(child: Callable[[Tether], int]) -> tuple[int, int]:
    """Like `fork`, with a tether for the child; the parent gets the pid and the descriptor it must hold while it lives."""
    reads, writes = os.pipe()
    tether = Tether(reads, writes)

    def tied() -> int:
        os.close(writes)
        tether.fasten()
        return child(tether)

    pid = fork(tied)
    os.close(reads)
    return pid, writes


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.flush()
            except (OSError, ValueError):
                # A reader that went away (`| head`) must not keep the child from ending.
                continue
