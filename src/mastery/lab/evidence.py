"""The trials of one run as they come in, and the tables that the statistics read from them."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from mastery.lab.clock_share import clock_share
from mastery.lab.document import AdviceRecord, TrialRecord
from mastery.lab.histogram import Histogram
from mastery.lab.plan import Plan
from mastery.lab.signed_rank import Floats

# An arm whose trials are void this often in a row is not tried again; a run must end.
VOIDS_IN_A_ROW = 3


@dataclass(slots=True)
class Evidence:
    """Grows trial by trial. Columns of every table are the plan's arms, the baseline first, its A/A twin last."""

    plan: Plan
    trials: list[TrialRecord] = field(default_factory=list)
    complete: list[int] = field(default_factory=list)
    given_up: set[int] = field(default_factory=set)
    # What was found on the way that the reader should know, beside what follows from the trials.
    advice: list[AdviceRecord] = field(default_factory=list)
    _void_in_a_row: Counter[int] = field(default_factory=Counter)
    _ours: dict[tuple[int, int, bool], TrialRecord] = field(default_factory=dict)
    _theirs: dict[tuple[int, str], TrialRecord] = field(default_factory=dict)
    _histograms: dict[tuple[int, int], Histogram] = field(default_factory=dict)

    def add(self, record: TrialRecord, histogram: Histogram | None) -> None:
        """Takes one finished trial; those of the ramp, the cold one and void ones are judged nowhere."""
        self.trials.append(record)
        if record.reference is None and not record.ramp:
            self._void_in_a_row[record.arm] = 0 if record.status == "ok" else self._void_in_a_row[record.arm] + 1
            if self._void_in_a_row[record.arm] >= VOIDS_IN_A_ROW:
                self.given_up.add(record.arm)
        if record.cold or record.ramp or record.status != "ok":
            return
        if record.reference is not None:
            self._theirs[record.block, record.reference] = record
            return
        self._ours[record.block, record.arm, record.placebo] = record
        if histogram is not None and not record.placebo:
            self._histograms[record.block, record.arm] = histogram

    def close_block(self, number: int) -> bool:
        """Whether every arm of the block has a result (those given up aside); only then is the block judged."""
        wanted = [(arm, placebo) for arm, placebo in self.columns if arm not in self.given_up]
        # Without its baseline a block compares nothing.
        whole = self.plan.baseline not in self.given_up and all((number, arm, placebo) in self._ours for arm, placebo in wanted)
        if whole:
            self.complete.append(number)
        return whole

    def close_last_block(self) -> None:
        """Closes the block in which a run was interrupted, as far as it came."""
        if self.trials and self.trials[-1].block not in self.complete:
            self.close_block(self.trials[-1].block)

    @property
    def complete_blocks(self) -> int:
        return len(self.complete)

    @property
    def columns(self) -> list[tuple[int, bool]]:
        """Arm index and whether it is the A/A twin, in the order of the tables' columns."""
        arms = [(arm.index, False) for arm in self.plan.arms]
        return [*arms, (self.plan.baseline, True)] if self.plan.has_placebo else arms

    def column(self, arm: int) -> int:
        """The column of an arm that runs."""
        return self.columns.index((arm, False))

    def table(self, metric: str) -> Floats:
        """Values of a metric, complete block x column; NaN where a trial is missing or does not have the metric."""
        table = np.full((len(self.complete), len(self.columns)), math.nan)
        for row, block in enumerate(self.complete):
            for column, (arm, placebo) in enumerate(self.columns):
                record = self._ours.get((block, arm, placebo))
                if record is not None and metric in record.metrics:
                    table[row, column] = record.metrics[metric]
        return table

    def log_values(self, metric: str) -> Floats:
        """Natural logarithms of `table`; a value of zero becomes minus infinity, which has no ratio."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.table(metric))

    def histograms(self, arm: int) -> list[Histogram]:
        """The latencies of one arm by complete block; an empty histogram where a trial has none."""
        empty = Histogram.from_samples(np.empty(0, dtype=np.int64))
        return [self._histograms.get((block, arm), empty) for block in self.complete]

    def clock_share(self, arm: int) -> float:
        """How much of the arm's median latency is the clock's own cost."""
        return clock_share(self.plan.header.noise, self.histograms(arm))

    def all_values(self, arm: int, metric: str) -> list[float]:
        """A metric over all of an arm's good trials, those of incomplete blocks too: what a guardrail counts."""
        own = [record for (_, index, placebo), record in sorted(self._ours.items()) if index == arm and not placebo]
        return [record.metrics[metric] for record in own if metric in record.metrics]

    def reference_pairs(self, reference: str, arm: int, metric: str) -> list[tuple[float, float]]:
        """Our figure and the tool's from the same block, for every block that has both."""
        pairs = []
        for (block, name), theirs in sorted(self._theirs.items()):
            ours = self._ours.get((block, arm, False))
            if name == reference and ours is not None and metric in ours.metrics and metric in theirs.metrics:
                pairs.append((ours.metrics[metric], theirs.metrics[metric]))
        return pairs

    def void_shares(self) -> dict[int, tuple[int, int]]:
        """Void and all trials of each arm, the cold one aside."""
        shares: dict[int, tuple[int, int]] = {}
        for record in self.trials:
            if record.reference is None and not record.cold and not record.ramp:
                void, trials = shares.get(record.arm, (0, 0))
                shares[record.arm] = (void + (record.status == "void"), trials + 1)
        return shares
