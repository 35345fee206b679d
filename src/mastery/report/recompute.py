"""Recomputes the figures of a run from its raw trials. Python 3.9 or newer, nothing else to install.

    python3 recompute.py [run.json]

Checked: the content hash (and the hash of experiment.py beside it), medians with their rank intervals, percentiles of the pooled
histograms, ratios to the baseline with their signed-rank intervals, guardrails with their bounds. Not recomputed, and counted:
intervals from resampling and intervals adjusted for several arms. Ends with status 1 when a figure differs.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
RISK = 0.05
# An arm that was void this often in a row was not tried again; from then on blocks are complete without it.
VOIDS_IN_A_ROW = 3


class Trials:
    """The raw trials of a run: values by arm and complete block, as the run itself paired them."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.trials: list[dict[str, Any]] = run["trials"]
        arms = [arm["index"] for arm in run["arms"] if arm["skipped"] is None]
        baseline = next(arm["index"] for arm in run["arms"] if arm["baseline"])
        twin = [(baseline, True)] if any(trial.get("placebo") for trial in self.trials) else []
        self.columns = [(arm, False) for arm in arms] + twin
        self.capacity = run["rule"].get("capacity", {})
        self.good: dict[tuple[int, int, bool], dict[str, Any]] = {}
        self.complete = self._complete_blocks()

    def _complete_blocks(self) -> list[int]:
        in_a_row: Counter[int] = Counter()
        tried = {trial["arm"] for trial in self.trials if not trial.get("ramp")}
        # An arm whose capacity the ramp did not find has no trials and was never part of a block.
        without_capacity = {arm for arm, _ in self.columns if arm not in tried} if self.capacity else set()
        given_up: set[int] = without_capacity
        blocks: dict[int, set[int]] = {}
        complete: list[int] = []
        for trial in self.trials:
            if trial.get("reference") is None and not trial.get("ramp"):
                ok = trial["status"] == "ok"
                in_a_row[trial["arm"]] = 0 if ok else in_a_row[trial["arm"]] + 1
                if in_a_row[trial["arm"]] >= VOIDS_IN_A_ROW:
                    given_up.add(trial["arm"])
                if ok and not trial.get("cold"):
                    self.good[trial["block"], trial["arm"], bool(trial.get("placebo"))] = trial
                if not trial.get("cold"):
                    blocks[trial["block"]] = set(given_up)
        for block, without in blocks.items():
            wanted = [column for column in self.columns if column[0] not in without]
            if wanted and wanted[0] == self.columns[0] and all((block, *column) in self.good for column in wanted):
                complete.append(block)
        return complete

    def by_block(self, arm: int, metric: str) -> dict[int, float]:
        found: dict[int, float] = {}
        for block in self.complete:
            trial = self.good.get((block, arm, False))
            if trial is not None and metric in trial["metrics"]:
                found[block] = trial["metrics"][metric]
        return found

    def all_values(self, arm: int, metric: str) -> list[float]:
        """Values of incomplete blocks too: a loss counts wherever it was seen."""
        own = [trial for (_, index, placebo), trial in self.good.items() if index == arm and not placebo]
        return [trial["metrics"][metric] for trial in own if metric in trial["metrics"]]


def median(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def rank_interval(values: list[float]) -> tuple[float | None, float | None]:
    """The order statistics that enclose the median with 95 %: as many are left out on each side as a fair coin allows."""
    ordered, count, left_out = sorted(values), len(values), -1
    while 2 * (left_out + 2) <= count and 2 * sum(math.comb(count, k) for k in range(left_out + 2)) / 2**count <= RISK:
        left_out += 1
    return (ordered[left_out], ordered[-1 - left_out]) if left_out >= 0 else (None, None)


def walsh_averages(differences: list[float]) -> list[float]:
    count = len(differences)
    return sorted((differences[i] + differences[j]) / 2 for i in range(count) for j in range(i, count))


def signed_rank_interval(differences: list[float]) -> tuple[float | None, float | None]:
    """The Walsh averages that enclose the centre with 95 %, by the exact distribution of Wilcoxon's rank sum."""
    count, ways = len(differences), [1]
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        for total, number in enumerate(ways):
            longer[total + rank] += number
        ways = longer
    left_out, cumulative = -1, 0
    for total, number in enumerate(ways):
        cumulative += number
        if 2 * cumulative / 2**count > RISK:
            break
        left_out = total
    averages = walsh_averages(differences)
    return (averages[left_out], averages[-1 - left_out]) if left_out >= 0 else (None, None)


def share_at_most(hits: int, trials: int) -> float:
    """Clopper and Pearson's one-sided bound: the share under which so few hits have a probability of 5 %."""
    low, high = hits / trials, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        fewer = sum(math.comb(trials, k) * middle**k * (1 - middle) ** (trials - k) for k in range(hits + 1))
        low, high = (middle, high) if fewer > RISK else (low, middle)
    return 1.0 if hits == trials else (low + high) / 2


def percentile_s(histogram: dict[str, Any], quantile: float) -> float:
    """The upper end of the bucket in which the sample of this rank lies, as HdrHistogram defines its buckets (3 digits)."""
    counts = histogram["counts"]
    total = sum(counts)
    rank = max(1, math.ceil(quantile * total - 1e-9 * max(1.0, quantile * total)))
    bucket = passed = 0
    for step, count in zip(histogram["bucket_steps"], counts):  # noqa: B905  # `strict` is younger than Python 3.9
        bucket, passed = bucket + step, passed + count
        if passed >= rank:
            break
    doubling = max((bucket >> 10) - 1, 0)
    greatest_ns = ((bucket - (doubling << 10) + 1) << doubling) - 1
    return float(min(greatest_ns, histogram["max_ns"])) / 1e9


class Check:
    """Compares figures and keeps count."""

    def __init__(self) -> None:
        self.checked = self.skipped = 0
        self.differing: list[str] = []

    def equal(self, what: str, stored: float | None, computed: float | None) -> None:
        self.checked += 1
        if stored is None or computed is None:
            same = stored is computed
        else:
            same = math.isclose(stored, computed, rel_tol=1e-9, abs_tol=1e-15)
        if not same:
            self.differing.append(f"{what}: the document says {stored}, its trials give {computed}")


def check_estimates(run: dict[str, Any], trials: Trials, check: Check) -> None:
    for each in run["estimates"]:
        what = f"{each['metric']} of arm {each['arm']}"
        if each["withheld"] is not None:
            continue
        if each["metric"] in PERCENTILES:
            check.equal(what, each["value"], percentile_s(run["histograms"][str(each["arm"])], PERCENTILES[each["metric"]]))
            check.skipped += 1
            continue
        values = list(trials.by_block(each["arm"], each["metric"]).values())
        check.equal(what, each["value"], median(values) if values else None)
        low, high = rank_interval(values)
        check.equal(f"{what}, low end", each["low"], low)
        check.equal(f"{what}, high end", each["high"], high)


def check_effects(run: dict[str, Any], trials: Trials, check: Check) -> None:
    for each in run["effects"]:
        what = f"effect on {each['metric']} of arm {each['arm']}"
        arm, over = (trials.by_block(each[end], each["metric"]) for end in ("arm", "over"))
        pairs = [(arm[block], over[block]) for block in trials.complete if block in arm and block in over]
        is_resampled = each["metric"] in PERCENTILES and len(pairs) < len(trials.complete)
        if is_resampled or not pairs or min(min(pair) for pair in pairs) <= 0:
            check.skipped += 1
            continue
        logs = [math.log(ours) - math.log(theirs) for ours, theirs in pairs]
        check.equal(what, each["ratio"], math.exp(median(walsh_averages(logs))))
        # Where no verdict was given, the interval may be an adjusted or a resampled one.
        if each["adjusted"] or each["withheld"] is not None:
            check.skipped += 1
            continue
        low, high = signed_rank_interval(logs)
        check.equal(f"{what}, low end", each["low"], None if low is None else math.exp(low))
        check.equal(f"{what}, high end", each["high"], None if high is None else math.exp(high))


def check_guardrails(run: dict[str, Any], trials: Trials, check: Check) -> None:
    for each in run["guardrails"]:
        values = trials.all_values(each["arm"], each["metric"])
        hits = sum(value != 0 for value in values)
        what = f"{each['metric']} of arm {each['arm']}"
        check.equal(f"{what}, trials", each["trials"], len(values))
        check.equal(f"{what}, trials with any", each["trials_with_any"], hits)
        check.equal(f"{what}, maximum", each["maximum"], max(values, default=None))
        check.equal(f"{what}, minimum", each["minimum"], min(values, default=None))
        check.equal(f"{what}, total", each["total"], math.fsum(values))
        check.equal(f"{what}, share at most", round(each["share_at_most"], 6), round(share_at_most(hits, len(values)), 6))


def check_hashes(path: Path, text: bytes, run: dict[str, Any], check: Check) -> None:
    """The hash covers the canonical text without the member `hash`; a text that holds it as it stands must be canonical."""
    member = b'"hash":"' + run["hash"].encode() + b'",'
    computed = "sha256:" + hashlib.sha256(text.replace(member, b"", 1)).hexdigest()
    check.checked += 1
    if computed != run["hash"]:
        check.differing.append(f"hash: the document says {run['hash']}, its text gives {computed}")
    source = path.with_name("experiment.py")
    if source.exists():
        check.checked += 1
        if hashlib.sha256(source.read_bytes()).hexdigest() != run["declaration"].get("source"):
            check.differing.append("experiment.py is not the text that was run")


def main(arguments: list[str]) -> int:
    path = Path(arguments[0]) if arguments else Path(__file__).with_name("run.json")
    text = path.read_bytes()
    run, check = json.loads(text), Check()
    check_hashes(path, text, run, check)
    trials = Trials(run)
    for part in (check_estimates, check_effects, check_guardrails):
        part(run, trials, check)
    for line in check.differing:
        sys.stdout.write(f"DIFFERS  {line}\n")
    sys.stdout.write(
        f"{check.checked} figures checked, {len(check.differing)} differ, {check.skipped} not recomputed (resampled or adjusted).\n"
    )
    return 1 if check.differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
