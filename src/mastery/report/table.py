"""The tables of a run for a terminal: aligned, 80 columns, the same words when piped."""

from rich.table import Table as RichTable
from rich.text import Text

from mastery.lab.document import RunDocument
from mastery.report.figures import Table, fit, table_of

_STYLES = {
    "better": "green",
    "better?": "green",
    "worse": "red",
    "worse?": "red",
    "withheld": "yellow",
    "holds": "green",
    "fails": "red",
}


def tables(table: Table, width: int) -> list[RichTable]:
    """The table in as many parts as the width needs."""
    return [_drawn(part) for part in fit(table, width)]


def result_tables(document: RunDocument, width: int) -> list[RichTable]:
    """What a run is shown by: a grid for exact counts over two factors, else one row for each arm."""
    return tables(table_of(document), width)


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for column in table.columns:
        drawn.add_column(Text(column.heading), justify="right" if column.right else "left", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return drawn
