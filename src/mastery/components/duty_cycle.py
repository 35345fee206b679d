"""Stops and continues a process in turns, for machines that give no control group: the weaker limit on processor time.

Started as `python -m mastery.components.duty_cycle PARENT PIDFD SHARE`. A line on its standard input is answered with
{"stops": ..., "stopped_ns": ...}; the end of its input or of its parent ends it, and the process is continued whatever happened.
"""

import json
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from mastery.components.linux import signal_at_death_of_parent

PERIOD_S = 0.1
INPUT, OUTPUT = 0, 1


def main(words: list[str]) -> None:
    parent, process, share = int(words[0]), int(words[1]), float(words[2])
    # Asked to end, not killed, when the parent dies: a process left stopped would stay so for ever.
    signal.signal(signal.SIGTERM, _end)
    signal_at_death_of_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return
    Turns(process, share).take()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


class Turns:
    """`process` is a descriptor, not a pid: the number of a process that ended may already belong to another one."""

    def __init__(self, process: int, share: float) -> None:
        self._process = process
        self._share = share
        self._stops = 0
        self._stopped_ns = 0
        self._watched = [INPUT, process]

    def take(self) -> None:
        try:
            begins_s = time.monotonic()
            # Absolute times: a turn that ends late must not shift all that follow.
            while self._wait_until(begins_s + self._share * PERIOD_S):
                begins_s += PERIOD_S
                self._stop_until(begins_s)
        finally:
            self._send(signal.SIGCONT)

    def _stop_until(self, at_s: float) -> None:
        if self._process not in self._watched:
            return
        begin_ns = time.monotonic_ns()
        self._send(signal.SIGSTOP)
        self._stops += 1
        self._wait_until(at_s)
        self._send(signal.SIGCONT)
        self._stopped_ns += time.monotonic_ns() - begin_ns

    def _wait_until(self, at_s: float) -> bool:
        """Answers questions meanwhile; False at the end of the input."""
        while INPUT in self._watched and (left_s := at_s - time.monotonic()) > 0:
            ready, _, _ = select.select(self._watched, [], [], left_s)
            if self._process in ready:
                # Ended: there is nothing to stop any more, but the figures are still asked for.
                self._watched.remove(self._process)
            if INPUT in ready and not self._answer():
                self._watched.remove(INPUT)
        return INPUT in self._watched

    def _answer(self) -> bool:
        if not os.read(INPUT, 4096):
            return False
        os.write(OUTPUT, json.dumps({"stops": self._stops, "stopped_ns": self._stopped_ns}).encode() + b"\n")
        return True

    def _send(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._process, number)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
