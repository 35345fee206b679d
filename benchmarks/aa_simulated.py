"""How often simulated runs without a difference claim one, and how often they find a true ratio, over kinds of noise.

python benchmarks/aa_simulated.py [RUNS]

The functions that the run loop calls plan and judge every run; only the trials are simulated. Shares come with Wilson intervals.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mastery.lab.guardrail import wilson_interval
from mastery.lab.judgement import Judgement, judge
from mastery.lab.planning import PILOT_BLOCKS, Mode, plan_blocks
from mastery.lab.verdict import Verdict

Floats = npt.NDArray[np.float64]
CLAIMED = (Verdict.BETTER, Verdict.WORSE)
ARMS = 5  # the baseline, four others; the baseline's twin comes on top
SMALLEST_EFFECT = 0.10

# Each has a standard deviation of the logarithm of about 0.2, but for the stalls, which are what they are.
NOISES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda random, blocks: random.normal(0.0, 0.2, (blocks, ARMS + 1)),
    "heavy tails": lambda random, blocks: random.standard_t(3, (blocks, ARMS + 1)) * (0.2 / math.sqrt(3.0)),
    "skewed": lambda random, blocks: random.exponential(0.2, (blocks, ARMS + 1)),
    "stalls 12 %": lambda random, blocks: random.normal(0.0, 0.05, (blocks, ARMS + 1)) + (random.random((blocks, ARMS + 1)) < 0.12),
    "unlike arms": lambda random, blocks: random.normal(0.0, 0.2, (blocks, ARMS + 1)) * np.array([0.2, 0.5, 1.0, 2.0, 1.0, 0.2]),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One kind of noise, the true ratio of the first arm, and the blocks that the budget holds."""

    noise: str
    ratio: float
    affordable: int
    mode: Mode

    def run(self, random: np.random.Generator) -> Judgement:
        """One whole run: pilot, number of blocks, trials, judgement."""
        pilot = self._blocks(random, PILOT_BLOCKS)
        plan = plan_blocks(
            pilot, baseline=0, smallest_effect=SMALLEST_EFFECT, mode=self.mode, affordable=self.affordable, twin=ARMS
        )
        values = np.vstack([pilot, self._blocks(random, plan.blocks - PILOT_BLOCKS)])
        return judge(values, baseline=0, smallest_effect=SMALLEST_EFFECT, better="lower", mode=self.mode, twin=ARMS)

    def _blocks(self, random: np.random.Generator, count: int) -> Floats:
        values = NOISES[self.noise](random, count) + random.normal(0.0, 0.3, (count, 1))
        values[:, 1] += math.log(self.ratio)
        return values


def share(hits: int, runs: int) -> str:
    """A share in per cent with its Wilson interval."""
    low, high = wilson_interval(hits, runs)
    return f"{hits / runs:6.1%} ({low:.1%} to {high:.1%})"


def main(runs: int) -> None:
    """Prints one row for each kind of noise and number of blocks."""
    print(f"{runs} simulated runs a row; 4 arms against the baseline, smallest effect {SMALLEST_EFFECT:.0%}, block effects of 0.3")
    print(f"{'noise':<12} {'mode':<7} {'blocks':>6}  {'any false claim':<25} {'twin alarms':<25} {'ratio 1.5 found':<25}")
    rows = ((Mode.QUICK, 6), (Mode.NORMAL, 10), (Mode.NORMAL, 12), (Mode.NORMAL, 24), (Mode.RIGOROUS, 60))
    for noise in NOISES:
        for mode, affordable in rows:
            random = np.random.default_rng(1)
            equal = [Bench(noise, 1.0, affordable, mode).run(random) for _ in range(runs)]
            different = [Bench(noise, 1.5, affordable, mode).run(random) for _ in range(runs)]
            false = sum(any(effect.verdict in CLAIMED for effect in each.effects if effect.arm != ARMS) for each in equal)
            twin = sum(each.effect_of(ARMS).verdict in CLAIMED for each in equal)
            found = sum(each.effect_of(1).verdict is Verdict.WORSE for each in different)
            print(
                f"{noise:<12} {mode:<7} {affordable:>6}  {share(false, runs):<25} {share(twin, runs):<25} {share(found, runs):<25}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
