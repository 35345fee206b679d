"""The plot of a run drawn with characters: one row for each arm, directly labelled, over one axis."""

from mastery.report import numbers
from mastery.report.axis import Axis
from mastery.report.dots import Dots, Row

# A taller plot is not read any more; the table has all arms.
MOST_ROWS = 30
WIDEST_LABEL = 32


def plot(dots: Dots, width: int = 80) -> str:
    """The plot as lines of at most `width` characters; `to_ascii` makes it fit a terminal without others."""
    rows = dots.rows[:MOST_ROWS]
    label_width = min(max(len(row.label) for row in rows), WIDEST_LABEL)
    figures = [numbers.quantity(row.value, dots.axis.unit) for row in rows]
    field = max(width - label_width - max(map(len, figures)) - 4, 20)
    lines = [_placed(dots.axis_title, label_width + 2, width)]
    for row, figure in zip(rows, figures, strict=True):
        label = row.label if len(row.label) <= label_width else row.label[: label_width - 1] + "…"
        lines.append(f"{label:<{label_width}}  {_drawn(row, dots, field)}  {figure}".rstrip())
    lines += [f"{' ' * label_width}  {line}" for line in _axis_lines(dots.axis, field)]
    lines += [_placed(_key(dots, rows), label_width + 2, width)]
    if len(dots.rows) > MOST_ROWS:
        lines.append(f"and {len(dots.rows) - MOST_ROWS} more arms, see the table")
    return "\n".join(lines)


def _placed(text: str, indent: int, width: int) -> str:
    """The text where the field begins if it fits there, else as far to the left as it takes."""
    return f"{' ' * max(min(indent, width - len(text)), 0)}{text}"


def _drawn(row: Row, dots: Dots, field: int) -> str:
    cells = [" "] * field

    def at(value: float) -> int:
        return round(dots.axis.place(value) * (field - 1))

    if dots.floor:
        for column in range(at(dots.floor[0]), at(dots.floor[1]) + 1):
            cells[column] = "░"
    if dots.baseline is not None:
        cells[at(dots.baseline)] = "┊"
    for trial in row.trials:
        cells[at(trial)] = "·"
    if row.low is not None and row.high is not None:
        for column in range(at(row.low), at(row.high) + 1):
            cells[column] = "─"
    for predicted in row.predicted:
        cells[at(predicted)] = "○"
    cells[at(row.value)] = "◇" if row.modelled else "●"
    return "".join(cells)


def _axis_lines(axis: Axis, field: int) -> tuple[str, str]:
    rule, words = ["─"] * field, [" "] * field
    free_from = 0
    for tick in axis.ticks(most=max(field // 10, 2)):
        column = round(tick.at * (field - 1))
        start = min(max(column - len(tick.label) // 2, 0), field - len(tick.label))
        # A label that would touch its neighbour is left out together with its mark.
        if start >= free_from:
            rule[column] = "│"
            words[start : start + len(tick.label)] = tick.label
            free_from = start + len(tick.label) + 2
    return "".join(rule), "".join(words).rstrip()


def _key(dots: Dots, rows: tuple[Row, ...]) -> str:
    words = [] if all(row.modelled for row in rows) else [f"● {dots.dot}"]
    if any(row.modelled for row in rows):
        words.append("◇ modelled")
    if any(row.low is not None for row in rows):
        words.append("─ interval")
    words.append("· trial")
    if dots.baseline is not None and len(rows) > 1:
        words.append("┊ baseline")
    if dots.floor:
        words.append("░ noise")
    if any(row.predicted for row in rows):
        words.append("○ your prediction")
    return "  ".join(words)
