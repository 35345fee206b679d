"""What disturbed one trial from outside: steal, throttling, context switches, major faults, waiting for a resource.

    readings = Readings.start()
    ...the trial...
    disturbance = readings.finish()

Taken inside the trial's own process: switches and faults are those of this process and of its children that ended.
"""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from mastery.components.cgroup import Throttling, ambient_throttling

STEAL_FIELD = 7  # of the first line of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice
FIELDS_OF_TIME = 8  # guest time is already in user and nice; counting it again would shrink the share
PRESSURE_TOTAL = b"total="


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Over one interval. None means that this system does not tell, never that nothing happened.

    The pressure shares say for which part of the interval at least one task of the machine stood waiting.
    """

    elapsed_ns: int
    steal_share: float | None
    voluntary_switches: int
    involuntary_switches: int
    major_faults: int
    throttled_periods: int | None
    throttled_ns: int | None
    cpu_pressure_share: float | None
    memory_pressure_share: float | None
    io_pressure_share: float | None


@dataclass(frozen=True, slots=True)
class Readings:
    """The counters at one moment; costs some 100 microseconds, outside the timed part."""

    at_ns: int
    ticks: tuple[int, ...] | None
    voluntary_switches: int
    involuntary_switches: int
    major_faults: int
    throttling: Throttling | None
    waited_us: tuple[int | None, int | None, int | None]
    root: Path

    @classmethod
    def start(cls, *, root: Path = Path("/")) -> "Readings":
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(
            at_ns=time.monotonic_ns(),
            ticks=_ticks(root),
            voluntary_switches=own.ru_nvcsw + children.ru_nvcsw,
            involuntary_switches=own.ru_nivcsw + children.ru_nivcsw,
            major_faults=own.ru_majflt + children.ru_majflt,
            throttling=ambient_throttling(root=root),
            waited_us=(_waited_us(root, "cpu"), _waited_us(root, "memory"), _waited_us(root, "io")),
            root=root,
        )

    def finish(self) -> Disturbance:
        return difference(self, Readings.start(root=self.root))


def difference(begin: Readings, end: Readings) -> Disturbance:
    """What happened between two readings."""
    elapsed_ns = end.at_ns - begin.at_ns
    shares = [_share(before, after, elapsed_ns) for before, after in zip(begin.waited_us, end.waited_us, strict=True)]
    throttled = (begin.throttling, end.throttling)
    return Disturbance(
        elapsed_ns=elapsed_ns,
        steal_share=_steal_share(begin.ticks, end.ticks),
        voluntary_switches=end.voluntary_switches - begin.voluntary_switches,
        involuntary_switches=end.involuntary_switches - begin.involuntary_switches,
        major_faults=end.major_faults - begin.major_faults,
        throttled_periods=throttled[1].periods - throttled[0].periods if throttled[0] and throttled[1] else None,
        throttled_ns=throttled[1].stood_ns - throttled[0].stood_ns if throttled[0] and throttled[1] else None,
        cpu_pressure_share=shares[0],
        memory_pressure_share=shares[1],
        io_pressure_share=shares[2],
    )


def _steal_share(begin: tuple[int, ...] | None, end: tuple[int, ...] | None) -> float | None:
    """Stolen ticks over all ticks. An interval shorter than a tick (10 ms a core) has no share."""
    if begin is None or end is None:
        return None
    passed = sum(end) - sum(begin)
    return (end[STEAL_FIELD] - begin[STEAL_FIELD]) / passed if passed > 0 else None


def _share(before_us: int | None, after_us: int | None, elapsed_ns: int) -> float | None:
    if before_us is None or after_us is None or elapsed_ns <= 0:
        return None
    # The kernel brings the totals up to date every 2 s or on reading: a delta can exceed a short interval.
    return min(1.0, (after_us - before_us) * 1000 / elapsed_ns)


def _ticks(root: Path) -> tuple[int, ...] | None:
    try:
        with (root / "proc/stat").open("rb", buffering=0) as file:
            words = file.read(512).split(b"\n", 1)[0].split()
    except OSError:
        return None
    ticks = tuple(int(word) for word in words[1 : FIELDS_OF_TIME + 1])
    return ticks if len(ticks) == FIELDS_OF_TIME else None


def _waited_us(root: Path, name: str) -> int | None:
    try:
        with (root / "proc/pressure" / name).open("rb", buffering=0) as file:
            line = file.read(256).split(b"\n", 1)[0]
    except OSError:
        return None
    return int(line.rpartition(PRESSURE_TOTAL)[2]) if PRESSURE_TOTAL in line else None
