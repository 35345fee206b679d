"""Stops and continues a process in turns, for machines that give no control group: the weaker limit on processor time.

Started as `python -m mastery.components.duty_cycle PARENT PID SHARE`. A line on its standard input is answered with
{"stops": ..., "stopped_ns": ...}; the end of its input ends it, and the process is continued whatever happened.
"""

import json
import os
import select
import signal
import sys
import time

from mastery.components.namespaces import die_with_parent

PERIOD_S = 0.1
INPUT, OUTPUT = 0, 1


def main(words: list[str]) -> None:
    parent, pid, share = int(words[0]), int(words[1]), float(words[2])
    die_with_parent(parent)
    # By descriptor: the number of a process that ended may already belong to another one.
    process = os.pidfd_open(pid)
    try:
        _take_turns(process, share)
    except ProcessLookupError:
        _answer_until_end(stops=0, stopped_ns=0)
    finally:
        _signal(process, signal.SIGCONT)


def _take_turns(process: int, share: float) -> None:
    stops = stopped_ns = 0
    period_begins_s = time.monotonic()
    while True:
        # Absolute times: a turn that ends late must not shift all that follow.
        if not _wait_until(period_begins_s + share * PERIOD_S, stops=stops, stopped_ns=stopped_ns):
            return
        begin_ns = time.monotonic_ns()
        if not _signal(process, signal.SIGSTOP):
            _answer_until_end(stops=stops, stopped_ns=stopped_ns)
            return
        stops += 1
        period_begins_s += PERIOD_S
        goes_on = _wait_until(period_begins_s, stops=stops, stopped_ns=stopped_ns)
        _signal(process, signal.SIGCONT)
        stopped_ns += time.monotonic_ns() - begin_ns
        if not goes_on:
            return


def _answer_until_end(*, stops: int, stopped_ns: int) -> None:
    """The process is gone; its figures are still asked for."""
    _wait_until(float("inf"), stops=stops, stopped_ns=stopped_ns)


def _wait_until(at_s: float, *, stops: int, stopped_ns: int) -> bool:
    """Answers questions meanwhile; False at the end of the input."""
    while (left_s := at_s - time.monotonic()) > 0:
        ready, _, _ = select.select([INPUT], [], [], None if left_s == float("inf") else left_s)
        if not ready:
            return True
        if not os.read(INPUT, 4096):
            return False
        os.write(OUTPUT, json.dumps({"stops": stops, "stopped_ns": stopped_ns}).encode() + b"\n")
    return True


def _signal(process: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
