"""How often equal arms look different on a real machine: python benchmarks/a_a_real.py [--runs 60] [--operation flush|compute]

Each run of the public run path compares one arm with itself in interleaved blocks; counted is how often the plain 95 %
interval of the paired ratio excludes 1. Figures of a machine, not a test.
"""

import argparse

import numpy as np
from run_path import conditions, home_of_its_own, run

from mastery.lab.guardrail import wilson_interval
from mastery.lab.planning import Mode
from mastery.workbench import Request


def main(runs: int, operation: str, budget_s: float) -> None:
    """Prints the share of false alarms with its Wilson interval, and how far the ratios lie apart."""
    print(conditions())
    ratios, alarms, blocks = [], 0, []
    with home_of_its_own():
        for number in range(runs):
            request = Request("same-and-same", mode=Mode.NORMAL, budget_s=budget_s, seed=number, arms={"operation": [operation]})
            document = run(request)
            if "a_a_alarm" not in document.noise:
                continue
            alarms += bool(document.noise["a_a_alarm"])
            ratios.append(float(document.noise["a_a_ratio"]))
            blocks.append(document.rule.blocks)
    low, high = wilson_interval(alarms, len(ratios))
    print(f"{len(ratios)} A/A pairs of {operation!r}, {min(blocks)} to {max(blocks)} blocks each (median {np.median(blocks):.0f})")
    print(f"the 95 % interval excluded 1 in {alarms}: {alarms / len(ratios):.1%} (Wilson {low:.1%} to {high:.1%}); nominal 5 %")
    spread = np.abs(np.log(ratios))
    print(f"ratios: median distance from 1 {np.expm1(np.median(spread)):.1%}, greatest {np.expm1(spread.max()):.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--operation", choices=["flush", "compute"], default="flush")
    parser.add_argument("--budget", type=float, default=3.0)
    chosen = parser.parse_args()
    main(chosen.runs, chosen.operation, chosen.budget)
