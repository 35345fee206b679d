"""How late an open loop of the engine starts its operations: python benchmarks/pacing.py

500 empty operations a second through the public run path, against a bare loop that spins to the same absolute deadlines, on
the same core, in interleaved pairs. Aim: a median difference of the p99 lateness of at most 50 us. Figures of a machine, not
a test.
"""

import numpy as np
from experiments.empty_operation import PACED_TURNS, RATE_PER_S
from run_path import conditions, good_trials, home_of_its_own, run

from mastery.lab.planning import Mode
from mastery.lab.signed_rank import SignedRank
from mastery.workbench import Request

AIM_US = 50
# 30 blocks of two trials at three quarters of the budget: one second of load each.
BUDGET_S = 30 * 2 * 1.0 / 0.75


def main() -> None:
    """Prints the p99 lateness of both loops and the paired differences."""
    print(conditions())
    with home_of_its_own():
        document = run(Request("pacing", mode=Mode.RIGOROUS, budget_s=BUDGET_S))
    bare, engine = good_trials(document, "bare"), good_trials(document, "engine")
    both = sorted(bare.keys() & engine.keys())
    bare_us = np.array([bare[block].metrics["late_p99"] for block in both]) * 1e6
    engine_us = np.array([float(engine[block].load["lateness_p99_s"]) for block in both]) * 1e6
    void = sum(trial.status == "void" for trial in document.trials)
    print(f"{len(both)} pairs of {PACED_TURNS} operations at {RATE_PER_S} op/s, {void} void trials")
    for name, values in (("bare spin", bare_us), ("engine", engine_us)):
        print(f"{name}: p99 lateness median {np.median(values):.1f} us, from {values.min():.1f} to {values.max():.1f}")
    differences = engine_us - bare_us
    ranks = SignedRank.of(differences)
    interval = ranks.interval(0.05)
    assert interval is not None, "a rigorous run has the blocks for an interval"
    median = float(np.median(differences))
    print(f"difference: median {median:.1f} us; Hodges-Lehmann {ranks.centre:.1f} ({interval.low:.1f} to {interval.high:.1f})")
    print(f"  aim at most {AIM_US} us: {'holds' if median <= AIM_US else 'does not hold'}")


if __name__ == "__main__":
    main()
