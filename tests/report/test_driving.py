"""How the load was driven stands beside the figures: the loop, its rates and lateness, and every outcome that was none."""

from typing import Any

import msgspec
from sample_run import sample_run

from mastery.lab.document import RuleRecord, RunDocument
from mastery.report.driving import driving
from mastery.report.figures import result_table

OPEN: dict[str, float | str] = {
    "loop": "open", "loaders": 4, "operations": 100, "offered_per_s": 500.0, "achieved_per_s": 498.0, "completed_per_s": 490.0,
    "lateness_p50_s": 40e-9, "lateness_p99_s": 600e-6, "queueing_mean_s": 30e-6, "busy_share": 0.12, "stable": "yes",
}  # fmt: skip
CLOSED: dict[str, float | str] = {"loop": "closed", "loaders": 1, "operations": 100, "completed_per_s": 900.0, "folding_s": 0.01}


def driven(*loads: dict[str, float | str], **changes: Any) -> RunDocument:
    """The sample run with a load for each of its arms, in their order."""
    rows = [msgspec.structs.replace(each, load=loads[each.arm % len(loads)]) for each in sample_run().trials]
    return sample_run(trials=rows, **changes)


def cells(document: RunDocument) -> dict[str, tuple[str, ...]]:
    return {column.heading: column.cells for column in result_table(document).columns}


def test_an_open_loop_shows_its_rates_and_lateness_for_each_arm() -> None:
    shown = cells(driven(OPEN, {**OPEN, "lateness_p99_s": 2e-3}, OPEN))
    assert shown["offered"] == ("500 op/s",) * 3
    assert shown["achieved"] == ("498 op/s",) * 3
    assert shown["completed"] == ("490 op/s",) * 3
    assert shown["late, p50"] == ("40 ns",) * 3
    assert shown["late, p99"] == ("600 µs", "2 ms", "600 µs")


def test_an_open_loop_says_from_when_latency_counts_and_what_queueing_added() -> None:
    told = " ".join(driving(driven(OPEN)))
    assert told.startswith("Open loop, 4 loaders: ")
    assert "latency counts from the intended start" in told
    assert "added up to 30 µs at the mean" in told
    assert "busy for up to 12 % of the time" in told


def test_a_closed_loop_is_one_line_with_its_loaders_and_no_column() -> None:
    document = driven({**CLOSED, "folding_s": 0.0}, {**CLOSED, "loaders": 16, "folding_s": 0.0})
    (told,) = driving(document)
    assert told.startswith("Closed loop, 1 to 16 loaders: ")
    assert not {"offered", "completed", "late, p99", "refused"} & set(cells(document))


def test_both_loops_in_one_run_say_how_many_arms_each_drove() -> None:
    told = driving(driven(OPEN, CLOSED, CLOSED))
    assert told[0].startswith("Open loop, 4 loaders in 1 arm: ")
    assert any(each.startswith("Closed loop, 1 loader in 2 arms: ") for each in told)
    assert cells(driven(OPEN, CLOSED, CLOSED))["offered"] == ("500 op/s", "", "")


def test_refusals_are_shown_whether_declared_or_not() -> None:
    document = driven({**CLOSED, "refused": 3.0, "unknown": 0.0}, CLOSED, CLOSED)
    assert "Of 3,600 operations 36 were refused." in driving(document)
    assert cells(document)["refused"] == ("36", "0", "0")
    assert "in doubt" not in cells(document)


def test_outcomes_in_doubt_and_retries_are_counted_apart() -> None:
    told = driving(driven({**CLOSED, "retried": 2.0, "unknown": 1.0}))
    assert "Of 3,600 operations 72 were retried, 36 were in doubt." in told


def test_the_folding_is_told_as_lying_outside_the_samples() -> None:
    # The void trial's as well: what it folded took time too.
    told = driving(driven(CLOSED))
    assert "Folding latencies into histograms took 370 ms over all trials, outside the samples." in told


def test_the_capacity_that_a_ramp_found_is_shown_by_arm() -> None:
    rule = RuleRecord(blocks=12, reason="precision", capacity={"0": 1200.0, "2": 9000.0, "77": 1.0})
    assert "Capacity, found by a ramp before: sync=every 1,200 op/s; sync=never 9,000 op/s." in driving(driven(OPEN, rule=rule))


def test_a_run_that_drove_nothing_says_nothing() -> None:
    assert driving(driven({})) == []
