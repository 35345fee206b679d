"""Figures that must not stand alone: a clock that is part of what it times, a tool that measures something else."""

import math
from collections.abc import Generator, Mapping
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from test_run_loop import document_in

from mastery.components.component import Here, Missing
from mastery.lab.claim import Claim, ratio, value
from mastery.lab.clock_share import clock_share
from mastery.lab.document import RunDocument, TrialRecord
from mastery.lab.experiment import Experiment, Factor, Metric
from mastery.lab.histogram import EMPTY, Histogram
from mastery.lab.load import Closed
from mastery.lab.plan import Header, Plan, Task
from mastery.lab.planning import Mode
from mastery.lab.reference import Reference
from mastery.lab.run import perform

PAIR_NS = 100.0


class Tool:
    """An independent tool that is here and serves every arm."""

    name = "tool"

    def find(self) -> Here | Missing:
        return Here("os")

    def serves(self, levels: Mapping[str, Any]) -> bool:
        return True

    def measure(self, levels: Mapping[str, Any], addresses: Mapping[str, Any], *, seconds: float) -> float:
        raise AssertionError("the machine of this test answers in its place")


def trial(arm: Any) -> Generator[Any, Any, None]:
    yield lambda _: None


EXPERIMENT = Experiment(
    id="doubted",
    question="Is it so?",
    factors=(Factor("work", ["slow", "fast"], "slow"),),
    metrics=(Metric("p50", "s", primary=True), Metric("throughput", "op/s", better="higher")),
    load=Closed(),
    trial=trial,
    claims=(Claim("halved", ratio("p50", "fast", over="slow") <= 0.7), Claim("below", value("p50", at={"work": "fast"}) <= 1.0)),
    references=(Reference("tool-agrees", Tool(), metric="p50", within=1.3),),
)


def measured(median_ns: Mapping[str, float], *, theirs_ns: float | None = None, batched: bool = False) -> RunDocument:
    """A run whose arms take so long in the median, and whose baseline an independent tool finds to take `theirs_ns`."""
    arms = EXPERIMENT.arms()
    header = Header(run="r", article="", started="2026-01-01T00:00:00Z", package="0", noise={"clock_pair_ns": PAIR_NS})
    references = () if theirs_ns is None else ((EXPERIMENT.references[0], 0),)
    plan = Plan(EXPERIMENT, header, Mode.NORMAL, 7, 0.1, 60.0, arms, references=references)
    rng, now = Random(5), [0.0]

    def start(task: Task) -> tuple[TrialRecord, Histogram | None]:
        now[0] += task.seconds
        slot = task.slot
        about = theirs_ns if slot.reference is not None else median_ns[str(arms[slot.arm].work)]
        assert about is not None
        p50 = about * math.exp(rng.gauss(0, 0.01))
        record = TrialRecord(
            block=task.block, arm=slot.arm, status="ok", placebo=slot.placebo, cold=task.cold, reference=slot.reference,
            metrics={"p50": p50 / 1e9, "throughput": 1e9 / p50},
        )  # fmt: skip
        samples = Histogram.from_samples(np.full(500, round(p50), dtype=np.int64))
        return record, None if slot.reference is not None or batched else samples

    return document_in(list(perform(plan, start, lambda: now[0], finished=lambda: "2026-01-01T00:01:00Z")))


def codes(document: RunDocument) -> list[str]:
    return [each.code for each in document.advice]


def test_a_latency_far_above_the_clocks_cost_is_shown_without_a_word() -> None:
    document = measured({"slow": 40_000, "fast": 20_000})
    effect = document.effect(1, "p50")
    assert effect is not None and (effect.verdict, effect.withheld) == ("better", None)
    assert "clock-share" not in codes(document)


def test_below_a_hundred_clock_readings_the_share_is_said_and_the_verdict_stands() -> None:
    document = measured({"slow": 40_000, "fast": 5_000})
    effect, estimate = document.effect(1, "p50"), document.estimate(1, "p50")
    assert effect is not None and estimate is not None
    assert (effect.verdict, estimate.withheld) == ("better", None)
    (advice,) = [each for each in document.advice if each.code == "clock-share"]
    assert "2.0% of one operation in work=fast" in advice.text and "Batched" in advice.remedy


@pytest.mark.parametrize("fine", ["slow", "fast"])
def test_below_twenty_clock_readings_the_percentile_and_its_verdict_are_withheld(fine: str) -> None:
    document = measured({"slow": 40_000, "fast": 20_000, fine: 1_500})
    withheld = document.estimate(["slow", "fast"].index(fine), "p50")
    shown = document.estimate(["fast", "slow"].index(fine), "p50")
    effect, throughput = document.effect(1, "p50"), document.effect(1, "throughput")
    assert withheld is not None and shown is not None and effect is not None and throughput is not None
    assert withheld.withheld is not None and withheld.withheld.startswith("reading the clock is 7% of one operation")
    assert shown.withheld is None
    assert (effect.verdict, effect.withheld) == (None, withheld.withheld)
    # A throughput counts operations; however short they are, two readings cover thousands of them.
    assert throughput.withheld is None
    assert "clock-share" in codes(document)


def test_a_claim_about_a_latency_holds_only_if_it_does_without_the_clocks_part() -> None:
    document = measured({"slow": 1_000, "fast": 690})
    halved, below = document.claims
    # 0.69 with the clock in both; the baseline may be a tenth faster than it looks, the other 15 %.
    assert (halved.standing, halved.low is not None and halved.low < 0.6) == ("inconclusive", True)
    assert (below.standing, below.why) == ("not_run", document.estimates[1].withheld)
    assert measured({"slow": 100_000, "fast": 69_000}).claims[0].standing == "holds"


def test_what_was_batched_has_no_percentiles_to_withhold() -> None:
    document = measured({"slow": 300, "fast": 150}, batched=True)
    assert "clock-share" not in codes(document)
    effect = document.effect(1, "throughput")
    assert effect is not None and effect.withheld is None
    assert clock_share({"clock_pair_ns": PAIR_NS}, [EMPTY]) == 0.0


def test_a_tool_that_agrees_lets_the_verdict_stand() -> None:
    document = measured({"slow": 40_000, "fast": 20_000}, theirs_ns=42_000)
    (reference,) = document.references
    effect = document.effect(1, "p50")
    assert effect is not None and (reference.agrees, effect.verdict) == (True, "better")


@pytest.mark.parametrize("theirs_ns", [25_000, 80_000])
def test_a_tool_that_measures_something_else_withholds_every_verdict_on_that_metric(theirs_ns: float) -> None:
    document = measured({"slow": 40_000, "fast": 20_000}, theirs_ns=theirs_ns)
    (reference,) = document.references
    effect = document.effect(1, "p50")
    assert reference.agrees is False and reference.blocks >= 10
    assert effect is not None and effect.verdict is None and not effect.relevant
    assert effect.withheld is not None and "independent tool" in effect.withheld


def test_a_tool_at_the_edge_of_its_tolerance_is_inconclusive_and_withholds_nothing() -> None:
    document = measured({"slow": 40_000, "fast": 20_000}, theirs_ns=40_000 * 1.3)
    (reference,) = document.references
    effect = document.effect(1, "p50")
    assert (reference.agrees, reference.why) == (None, "the interval crosses the tolerance: reference inconclusive")
    assert effect is not None and effect.verdict == "better"
    assert msgspec.json.decode(msgspec.json.encode(document), type=RunDocument) == document
