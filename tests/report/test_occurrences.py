"""What a system did by itself is counted over the trials, and its absence is said only where it was counted."""

import msgspec
import pytest
from sample_run import sample_run

from mastery.lab.document import RunDocument
from mastery.report.occurrences import occurrences
from mastery.report.telling import telling


def counting(*counters: dict[str, float]) -> RunDocument:
    """The sample run whose first trials carry these counters."""
    rows = sample_run().trials
    given = [msgspec.structs.replace(row, counters=each) for row, each in zip(rows, counters, strict=False)]
    return sample_run(trials=[*given, *rows[len(given) :]])


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ([], []),
        ([{"disk.device_writes": 4.0}], []),
        ([{"postgres.commits": 9.0}], ["No checkpoint and no vacuum occurred during the run."]),
        (
            [{"postgres.commits": 9.0, "postgres.checkpoints_timed": 1.0}, {"postgres.checkpoints_requested": 2.0}],
            ["3 checkpoints and 0 vacuums occurred during the trials of the run."],
        ),
        ([{"db.autovacuums": 1.0}], ["1 vacuum occurred during the trials of the run."]),
        ([{"cache.commands": 5.0}], ["No snapshot and no rewrite of the append-only file occurred during the run."]),
        (
            [{"cache.commands": 5.0, "cache.append_only_rewrites": 2.0}],
            ["0 snapshots and 2 rewrites of the append-only file occurred during the trials of the run."],
        ),
    ],
)
def test_what_occurred_is_counted_and_what_did_not_is_said(counters: list[dict[str, float]], said: list[str]) -> None:
    assert occurrences(counting(*counters)) == said


def test_two_systems_have_a_sentence_each() -> None:
    assert len(occurrences(counting({"postgres.commits": 1.0, "cache.commands": 1.0}))) == 2


def test_it_stands_with_how_the_run_was_driven() -> None:
    section = next(each for each in telling(counting({"postgres.commits": 9.0})) if each.heading == "How it was driven")
    assert "No checkpoint and no vacuum occurred during the run." in [line.text for line in section.lines]
