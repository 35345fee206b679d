"""Tables hold every arm, fit the width, and show grids as grids."""

import io

import msgspec
import pytest
from rich.console import Console
from sample_run import sample_run

from mastery.lab.document import ArmRecord, FactorRecord, MetricRecord, RuleRecord, RunDocument, TrialRecord
from mastery.report.figures import Column, Table, fit, matrix, result_table, table_of
from mastery.report.table import result_tables


def grid_run() -> RunDocument:
    cases, levels = ("G0", "G2"), ("read committed", "serializable")
    arms, trials = [], []
    for case in cases:
        for level in levels:
            index = len(arms)
            skipped = "no server" if (case, level) == ("G2", "serializable") else None
            arms.append(
                ArmRecord(index=index, levels={"case": case, "level": level}, label="", baseline=index == 0, skipped=skipped)
            )
            if not skipped:
                count = 84.0 if (case, level) == ("G2", "read committed") else 0.0
                trials.append(TrialRecord(block=0, arm=index, status="ok", metrics={"seen": count}))
    factors = [
        FactorRecord(name="case", levels=list(cases), baseline=cases[0]),
        FactorRecord(name="level", levels=list(levels), baseline=levels[0]),
    ]
    return sample_run(
        rule=RuleRecord(blocks=1, reason="exact"),
        arms=arms,
        trials=trials,
        factors=factors,
        metrics=[MetricRecord(name="seen", unit="order", better="lower", role="guardrail", primary=True)],
        **{name: [] for name in ("estimates", "effects", "guardrails", "claims", "references")},
        frontier=None,
    )


def drawn(document: RunDocument, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for table in result_tables(document, width):
        console.print(table)
    return console.file.getvalue()


def test_the_result_table_has_a_row_for_each_arm_and_the_verdict_beside_the_ratio() -> None:
    table = result_table(sample_run())
    assert table.headings[:4] == ("sync", "p50", "against *", "verdict")
    assert [row[0] for row in table.rows] == ["every *", "group", "never"]
    assert [row[3] for row in table.rows] == ["* baseline", "worse", "better"]


def test_throughput_and_guardrails_come_before_further_percentiles() -> None:
    headings = result_table(sample_run()).headings
    assert headings.index("throughput") < headings.index("at_risk, worst") < headings.index("p99")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    text = drawn(sample_run(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "81,896 records" in text
    assert "…" not in text


def test_cutting_a_table_loses_no_column_and_repeats_the_names() -> None:
    table = Table((Column("arm", ("a",)), *(Column(f"c{i}", ("x" * 9,)) for i in range(7))))
    parts = fit(table, 30)
    assert [heading for part in parts for heading in part.headings[1:]] == [f"c{i}" for i in range(7)]
    assert {part.headings[0] for part in parts} == {"arm"}


def test_an_exact_run_over_two_factors_is_a_grid() -> None:
    table = matrix(grid_run())
    assert table.headings == ("case", "read committed", "serializable")
    assert table.rows == [("G0", "-", "-"), ("G2", "84", "not run")]
    assert table_of(grid_run()) == table


def test_a_grid_puts_the_longer_factor_down_and_says_of_how_many_orders() -> None:
    document = grid_run()
    trials = [msgspec.structs.replace(each, notes={"orders_tried": 120}) for each in document.trials]
    factor = FactorRecord(name="level", levels=["serializable", "read committed", "snapshot"], baseline="read committed")
    extra = ArmRecord(index=9, levels={"case": "G0", "level": "snapshot"}, label="")
    arms = [*document.arms, extra]
    table = matrix(msgspec.structs.replace(document, trials=trials, arms=arms, factors=[document.factors[0], factor]))
    assert table.headings == ("level", "G0", "G2")
    assert table.rows == [("serializable", "-", "not run"), ("read committed", "-", "84 of 120"), ("snapshot", "void", "")]


def test_a_hostile_level_cannot_colour_or_move_the_table() -> None:
    arm = ArmRecord(index=0, levels={"sync": "[red]\x1b[2J", "call": "c", "record": 1}, label="", baseline=True)
    other = ArmRecord(index=1, levels={"sync": "x", "call": "c", "record": 1}, label="")
    text = drawn(sample_run(arms=[arm, other]), 80)
    assert "[red][2J" in text
    assert "\x1b" not in text
