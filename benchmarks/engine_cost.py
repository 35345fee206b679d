"""What the engine adds to an empty operation in a closed loop: python benchmarks/engine_cost.py

Through the public run path, with outcomes, deadline and the recording of latencies on, against a bare loop that reads the
clock twice a turn, in the same blocks. Aim: at most 500 ns above it. Figures of a machine, not a test.
"""

import numpy as np
from experiments.empty_operation import TURNS
from run_path import conditions, good_trials, home_of_its_own, run

from mastery.lab.planning import Mode
from mastery.lab.signed_rank import SignedRank
from mastery.workbench import Request

AIM_NS = 500


def main() -> None:
    """Prints the time per turn of each loop, and the paired differences with their intervals."""
    print(conditions())
    with home_of_its_own():
        document = run(Request("engine-cost", mode=Mode.RIGOROUS, budget_s=60.0))
    bare = good_trials(document, "bare")
    print(f"{document.rule.blocks} blocks of {TURNS} turns a trial; median time per turn, bare loop: {turn_ns(bare):.0f} ns")
    for loop in ("engine", "engine with history"):
        ours = good_trials(document, loop)
        both = sorted(bare.keys() & ours.keys())
        differences = np.array([(ours[block].metrics["turn"] - bare[block].metrics["turn"]) * 1e9 for block in both])
        ranks = SignedRank.of(differences)
        interval = ranks.interval(0.05)
        assert interval is not None, "a rigorous run has the blocks for an interval"
        folding_ns = np.median([float(ours[block].load["folding_s"]) for block in both]) / TURNS * 1e9
        print(
            f"{loop}: {turn_ns(ours):.0f} ns a turn; above the bare loop by {ranks.centre:.0f} ns "
            f"(95 % interval {interval.low:.0f} to {interval.high:.0f}, {len(both)} pairs); "
            f"folding, outside what is timed: {folding_ns:.0f} ns a latency"
        )
        if loop == "engine":
            print(f"  aim at most {AIM_NS} ns: {'holds' if interval.high <= AIM_NS else 'does not hold'}")


def turn_ns(trials: dict) -> float:
    return float(np.median([trial.metrics["turn"] for trial in trials.values()])) * 1e9


if __name__ == "__main__":
    main()
