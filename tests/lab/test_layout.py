"""Before the start: the arms as the user asks for them, what is skipped, how long a trial is, and whether the budget holds it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.component import Here, Missing
from mastery.errors import MachineCannot, UnknownName, UsageError
from mastery.lab.experiment import Experiment, Factor, Metric
from mastery.lab.layout import BUDGET_S, LOAD_SHARE, LONGEST_TRIAL_S, SHORTEST_TRIAL_S, lay_out, statements_of
from mastery.lab.load import Closed
from mastery.lab.planning import FEWEST_BLOCKS, Mode, fewest_blocks
from mastery.lab.reference import Reference


def trial(arm: Any, **addresses: Any) -> Iterator[Any]:
    yield lambda _: None


def declared(**more: Any) -> Experiment:
    given: dict[str, Any] = {
        "id": "fake",
        "question": "Does it?",
        "factors": (
            Factor("sync", ["never", "every"], "every", quick=["every"]),
            Factor("record", [128, 4096], 4096, unit="B"),
            Factor("rate", [0.5, 1.0], 0.5, quick=[0.5]),
        ),
        "metrics": (Metric("p50", "s", primary=True),),
        "load": Closed(),
        "trial": trial,
    }
    return Experiment(**{**given, **more})


def labels(experiment: Experiment, **more: Any) -> list[str]:
    return [arm.label() for arm in lay_out(experiment, {}, mode=Mode.QUICK, **more).arms]


def test_a_quick_run_takes_the_quick_levels_and_a_normal_one_all_of_them() -> None:
    assert labels(declared()) == ["sync=every record=4096 rate=0.5", "sync=every record=128 rate=0.5"]
    assert len(lay_out(declared(), {}, mode=Mode.NORMAL).arms) == 8


def test_the_user_names_levels_and_the_baseline_still_comes_first() -> None:
    assert labels(declared(), levels={"sync": ["never", "every"], "record": ["4096"]}) == [
        "sync=every record=4096 rate=0.5",
        "sync=never record=4096 rate=0.5",
    ]


def test_without_the_baseline_the_first_level_named_is_what_the_others_are_compared_with() -> None:
    layout = lay_out(declared(), {}, mode=Mode.QUICK, levels={"sync": ["never"], "record": ["128"]})
    assert [arm.label() for arm in layout.arms] == ["sync=never record=128 rate=0.5"]
    assert layout.arms[0].is_baseline


def test_numbers_of_the_users_own_are_taken_as_the_kind_that_the_factor_has() -> None:
    layout = lay_out(declared(), {}, mode=Mode.QUICK, levels={"record": ["16384"], "rate": ["2"]})
    (arm,) = layout.arms
    assert (arm.record, type(arm.record), arm.rate, type(arm.rate)) == (16384, int, 2.0, float)


@pytest.mark.parametrize("word", ["often", "1e3", "4096.5", ""])
def test_a_word_among_numbers_is_refused_and_numbers_are_offered(word: str) -> None:
    with pytest.raises(UnknownName, match=f"no level of record {word!r}") as caught:
        lay_out(declared(), {}, mode=Mode.QUICK, levels={"record": [word]})
    assert "Numbers of your own" in caught.value.remedy


def test_an_unknown_level_is_answered_with_the_nearest_and_an_unknown_factor_too() -> None:
    with pytest.raises(UnknownName, match=r"level of sync 'evry'. Did you mean 'every'") as caught:
        lay_out(declared(), {}, mode=Mode.QUICK, levels={"sync": ["evry"]})
    assert "never, every" in caught.value.remedy
    with pytest.raises(UnknownName, match=r"factor 'snyc'. Did you mean 'sync'"):
        lay_out(declared(), {}, mode=Mode.QUICK, levels={"snyc": ["every"]})


def test_a_combination_that_makes_no_sense_is_left_out_but_never_the_baseline() -> None:
    experiment = declared(only=lambda arm: arm.sync == "never" and arm.record == 128)
    assert len(lay_out(experiment, {}, mode=Mode.NORMAL).arms) == 1 + 2


REMEDY = re.compile(r"--budget (\d+)s")


@given(
    budget_s=st.floats(0.01, 30),
    overhead_s=st.floats(0.001, 5.0),
    levels=st.integers(1, 30),
    mode=st.sampled_from(Mode),
)
def test_a_budget_is_held_or_refused_with_a_sum_and_the_number_that_it_names_is_enough(
    budget_s: float, overhead_s: float, levels: int, mode: Mode
) -> None:
    experiment = declared(factors=(Factor("n", list(range(levels)), 0),), overhead_s=overhead_s)
    try:
        layout = lay_out(experiment, {}, mode=mode, budget_s=budget_s)
    except UsageError as refused:
        assert f"{FEWEST_BLOCKS} blocks x {levels + 1} arms" in refused.message
        found = REMEDY.search(refused.remedy)
        assert found is not None
        assert float(found[1]) > budget_s
        layout = lay_out(experiment, {}, mode=mode, budget_s=float(found[1]))
    assert SHORTEST_TRIAL_S <= layout.trial_s <= LONGEST_TRIAL_S
    assert FEWEST_BLOCKS * layout.slots * (layout.trial_s + overhead_s) <= layout.budget_s
    assert layout.slots == levels + 1


@pytest.mark.parametrize("mode", Mode)
def test_the_modes_own_budget_bends_to_an_experiment_whose_trials_are_long(mode: Mode) -> None:
    assert lay_out(declared(), {}, mode=mode).budget_s == BUDGET_S[mode]
    long = lay_out(declared(overhead_s=100.0), {}, mode=mode)
    assert long.budget_s > FEWEST_BLOCKS * long.slots * 100.0


def test_a_quick_run_has_at_most_twenty_seconds_of_load() -> None:
    for levels in range(1, 12):
        for references in ((), (Reference("r", Tool(Here("os")), metric="p50"),)):
            experiment = declared(factors=(Factor("n", list(range(levels)), 0),), references=references)
            layout = lay_out(experiment, {}, mode=Mode.QUICK)
            assert layout.load_s == BUDGET_S[Mode.QUICK] * LOAD_SHARE[Mode.QUICK] == pytest.approx(20.0)
            blocks = 8 if references else 7
            assert (blocks * layout.slots + 1) * layout.trial_s <= 20.0 + 1e-9


def test_a_trial_lasts_as_long_as_what_it_is_about() -> None:
    short, long = lay_out(declared(), {}, mode=Mode.QUICK), lay_out(declared(least_s=3.0), {}, mode=Mode.QUICK)
    assert short.trial_s < 3.0 == long.trial_s
    # The mode's own budget gives way, one that the user named does not.
    assert long.budget_s > FEWEST_BLOCKS * long.slots * 3.0
    with pytest.raises(UsageError, match="too small"):
        lay_out(declared(least_s=3.0), {}, mode=Mode.QUICK, budget_s=30.0)


def test_the_estimate_of_what_is_only_counted_covers_the_time_that_it_takes() -> None:
    exact = declared(exact=True, overhead_s=30.0)
    layout = lay_out(exact, {}, mode=Mode.QUICK)
    assert layout.expected_s >= layout.slots * 30.0
    assert lay_out(declared(exact=True), {}, mode=Mode.QUICK).expected_s == BUDGET_S[Mode.QUICK]


def test_what_is_counted_has_no_second_baseline_and_an_exact_experiment_needs_no_budget() -> None:
    counted = declared(metrics=(Metric("lost", "record", role="guardrail", primary=True),))
    assert lay_out(counted, {}, mode=Mode.QUICK).slots == 2
    assert lay_out(declared(exact=True), {}, mode=Mode.QUICK, budget_s=0.001).slots == 2


GONE = Missing("There is no disk here.", "Choose one with `--on disk=FOLDER`.")
FOUND: Mapping[str, Here | Missing] = {"disk": GONE, "server": Here("embedded", "18")}


def needing_a_disk(level: str) -> Experiment:
    resources: Any = {"disk": None, "server": None}
    return declared(resources=resources, needs=lambda arm: ["disk", "server"] if arm.sync == level else ["server"])


def test_an_arm_whose_resource_is_missing_is_skipped_and_keeps_its_number() -> None:
    layout = lay_out(needing_a_disk("never"), FOUND, mode=Mode.NORMAL)
    assert {record.label for record in layout.skipped} == {
        f"sync=never record={record} rate={rate}" for record in (128, 4096) for rate in (0.5, 1.0)
    }
    assert all((record.skipped, record.remedy) == (GONE.reason, GONE.remedy) for record in layout.skipped)
    indices = sorted([*(arm.index for arm in layout.arms), *(record.index for record in layout.skipped)])
    assert indices == list(range(8))


def test_a_skipped_baseline_leaves_the_first_arm_that_runs_to_compare_with() -> None:
    layout = lay_out(needing_a_disk("every"), FOUND, mode=Mode.NORMAL)
    assert {arm.sync for arm in layout.arms} == {"never"}
    assert not layout.arms[0].is_baseline
    assert 0 in {record.index for record in layout.skipped}


def test_a_run_of_which_nothing_can_run_is_refused_with_the_reason_and_the_remedy() -> None:
    with pytest.raises(MachineCannot, match="There is no disk here") as caught:
        lay_out(declared(resources={"disk": None}), {"disk": GONE}, mode=Mode.QUICK)
    assert caught.value.remedy == GONE.remedy


class Tool:
    """An independent tool that is here, or not."""

    def __init__(self, answer: Here | Missing, *, record: int | None = None) -> None:
        self.answer = answer
        self.record = record

    name = "tool"

    def find(self) -> Here | Missing:
        return self.answer

    def serves(self, levels: Any) -> bool:
        return self.record in (None, levels.get("record"))

    def measure(self, levels: Any, addresses: Any, *, seconds: float) -> float:
        return seconds


def test_a_reference_stands_beside_its_arm_or_says_why_it_does_not() -> None:
    here, gone = Tool(Here("os")), Tool(Missing("No fio.", "apt install fio"))
    references = (
        Reference("beside-baseline", here, metric="p50"),
        Reference("beside-128", here, metric="p50", arm={"record": 128}),
        Reference("arm-not-run", here, metric="p50", arm={"sync": "never"}),
        Reference("tool-not-here", gone, metric="p50"),
    )
    layout = lay_out(declared(references=references), {}, mode=Mode.QUICK)
    assert [(reference.id, arm) for reference, arm in layout.references] == [("beside-baseline", 0), ("beside-128", 1)]
    assert [(reference.id, why) for reference, why in layout.absent] == [
        ("arm-not-run", "its arm does not run"),
        ("tool-not-here", "No fio. apt install fio"),
    ]
    assert layout.slots == 2 + 2 + 1


def test_a_reference_never_follows_the_user_to_another_arm() -> None:
    here, only_4096 = Tool(Here("os")), Tool(Here("os"), record=4096)
    references = (
        Reference("beside-baseline", here, metric="p50"),
        Reference("beside-never", here, metric="p50", arm={"sync": "never"}),
        Reference("other-size", only_4096, metric="p50", arm={"sync": "never", "record": 128}),
    )
    layout = lay_out(declared(references=references), {}, mode=Mode.NORMAL, levels={"sync": ["never"]})
    assert layout.arms[0].is_baseline and layout.arms[0].sync == "never"
    assert [(reference.id, arm) for reference, arm in layout.references] == [("beside-never", 0)]
    assert [(reference.id, why) for reference, why in layout.absent] == [
        ("beside-baseline", "its arm does not run"),
        ("other-size", "tool does not do what the arm sync=never record=128 rate=0.5 does"),
    ]


def test_the_user_is_told_what_runs_with_what_what_is_skipped_and_what_is_written_where() -> None:
    experiment = needing_a_disk("never")
    layout = lay_out(experiment, FOUND, mode=Mode.NORMAL, levels={"record": ["128"], "rate": ["0.5"]})
    says = statements_of(experiment, layout, FOUND, where=Path("/somewhere"))
    assert any("1 arm in random order" in sentence for sentence in says)
    assert "Uses server: embedded 18." in says
    assert f"Skips sync=never record=128 rate=0.5: {GONE.reason} {GONE.remedy}" in says
    assert any("/somewhere" in sentence and "removes it" in sentence for sentence in says)
    assert says[-1].startswith("Touches nothing else: no setting of this machine, no server that it did not start")


def test_a_mode_that_promises_verdicts_takes_the_blocks_that_its_strictest_interval_needs() -> None:
    many = declared(factors=(Factor("arm", list(range(10)), 0),), overhead_s=3.0)
    laid = lay_out(many, {}, mode=Mode.NORMAL)
    assert laid.budget_s >= fewest_blocks(Mode.NORMAL, family=9) * laid.slots * (laid.trial_s + 3.0)
    # Whoever names a budget gets it, down to what can be judged at all.
    assert lay_out(many, {}, mode=Mode.NORMAL, budget_s=250.0).budget_s == 250.0
    assert lay_out(many, {}, mode=Mode.QUICK).budget_s < laid.budget_s
