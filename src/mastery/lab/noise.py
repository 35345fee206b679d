"""How finely this machine can measure at all: clock resolution and cost, lateness of sleeps, cost of doing nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

READS = 20_000
READS_A_BATCH = 500
SLEEPS = 100
SLEEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Noise:
    """All in nanoseconds. `clock_pair_ns` is what two readings add to every timed operation."""

    clock_resolution_ns: float
    clock_pair_ns: float
    null_operation_ns: float
    sleep_overshoot_median_ns: float
    sleep_overshoot_p99_ns: float


def measure_noise(clock_ns: Callable[[], int], *, sleep: Callable[[float], None]) -> Noise:
    """Takes about 0.15 s. `clock_ns` is the clock that the trials will use, `sleep` what paces their load."""
    median_ns, p99_ns = _sleep_overshoot(clock_ns, sleep)
    return Noise(
        clock_resolution_ns=_resolution(clock_ns),
        clock_pair_ns=2 * _cost_of(clock_ns, clock_ns),
        null_operation_ns=_cost_of(_do_nothing, clock_ns),
        sleep_overshoot_median_ns=median_ns,
        sleep_overshoot_p99_ns=p99_ns,
    )


def _do_nothing() -> int:
    return 0


def _resolution(clock_ns: Callable[[], int]) -> float:
    """The smallest step ever seen between two readings that differ: the tick, or the cost of a reading if that is larger."""
    readings = [clock_ns() for _ in range(READS)]
    steps = [later - earlier for earlier, later in pairwise(readings) if later > earlier]
    if steps:
        return min(steps)
    # A clock so coarse that it never moved during the readings: wait for two edges.
    edge_ns = _next_edge(clock_ns, clock_ns())
    return _next_edge(clock_ns, edge_ns) - edge_ns


def _next_edge(clock_ns: Callable[[], int], before_ns: int) -> int:
    while (now_ns := clock_ns()) == before_ns:
        pass
    return now_ns


def _cost_of(call: Callable[[], int], clock_ns: Callable[[], int]) -> float:
    """The median over batches: a minimum would praise a batch that the clock's own tick cut short."""
    costs: list[float] = []
    for _ in range(READS // READS_A_BATCH):
        begin_ns = clock_ns()
        for _ in range(READS_A_BATCH):
            call()
        costs.append((clock_ns() - begin_ns) / READS_A_BATCH)
    return sorted(costs)[len(costs) // 2]


def _sleep_overshoot(clock_ns: Callable[[], int], sleep: Callable[[float], None]) -> tuple[float, float]:
    overshoots: list[float] = []
    for _ in range(SLEEPS):
        begin_ns = clock_ns()
        sleep(SLEEP_S)
        overshoots.append(clock_ns() - begin_ns - SLEEP_S * 1e9)
    overshoots.sort()
    return overshoots[SLEEPS // 2], overshoots[SLEEPS * 99 // 100]
