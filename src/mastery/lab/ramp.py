"""Capacity first: what each arm can push through, so that latency can be measured at a stated share of it."""

from collections.abc import Generator, Mapping
from dataclasses import replace

from mastery.lab.document import TrialRecord
from mastery.lab.experiment import Arm, Experiment
from mastery.lab.load import Load, Open

# The steps of the ramp, as shares of what a closed loop of the same loaders pushed through.
STEPS = (0.5, 0.7, 0.85, 1.0, 1.15)

# Asked for one trial of an arm under a load; answered with its record, None where it was void.
Ask = tuple[Arm, Load]


def ramp(experiment: Experiment, arms: tuple[Arm, ...]) -> Generator[Ask, TrialRecord, dict[int, float]]:
    """Yields the trials it wants and returns op/s by arm index, for the arms whose load is a share of capacity.

    A closed loop says what the loaders can push through at the most; an open load then rises in steps until the system no
    longer keeps up. Capacity is the highest rate that it completed while it did. An arm that never kept up is left out.
    """
    found: dict[int, float] = {}
    for arm in arms:
        load = experiment.load_of(arm)
        if not isinstance(load, Open) or load.of_capacity is None:
            continue
        saturated = yield arm, load.saturating
        most = _completed(saturated)
        for step in STEPS if most > 0 else ():
            record = yield arm, replace(load, rate=most * step, of_capacity=None)
            if record.status != "ok" or record.load.get("stable") != "yes":
                break
            found[arm.index] = max(found.get(arm.index, 0.0), _completed(record))
    return found


def _completed(record: TrialRecord) -> float:
    return float(record.load.get("completed_per_s", 0.0)) if record.status == "ok" else 0.0


def load_at(load: Load, arm: int, capacity: Mapping[int, float]) -> Load | None:
    """The load with its share of capacity turned into a rate; None for an arm whose capacity was not found.

    The same absolute rate for all arms (a share of the least capacity) and a share of each arm's own are two questions.
    """
    if not isinstance(load, Open) or load.of_capacity is None:
        return load
    if arm not in capacity:
        return None
    base = capacity[arm] if load.own_capacity else min(capacity.values())
    return replace(load, rate=base * load.of_capacity, of_capacity=None)
