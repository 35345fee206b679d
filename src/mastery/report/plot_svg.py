"""The plot of a run as SVG written by us: no extra needed, light and dark by the page's own colours, readable on a phone."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from mastery.report import numbers
from mastery.report.dots import Dots, Row

# The classes that a page styles; a file of its own carries them with it.
STYLE = """
.plot text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink);
  paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
.plot .quiet { fill: var(--quiet); }
.plot .trial { fill: var(--ink); opacity: .22; }
.plot .mark { fill: var(--accent); stroke: var(--accent); }
.plot .home { fill: var(--ink); stroke: var(--ink); }
.plot .span { stroke-width: 2.5; stroke-linecap: round; }
.plot .rule { stroke: var(--hair); stroke-width: 1; }
.plot .base { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 3 3; }
.plot .band { fill: var(--hair); opacity: .6; }
.plot .model { fill: var(--paper); stroke: var(--accent); stroke-width: 2; }
.plot .guess { fill: none; stroke: var(--guess); stroke-width: 2; }
"""
# Okabe and Ito's blue and orange, lighter on dark ground.
LIGHT = "--ink:#1c1b19;--quiet:#6a675f;--hair:#d9d5cb;--accent:#0072b2;--guess:#b36b00;--paper:#fdfcf9"
DARK = "--ink:#e9e6df;--quiet:#a29d92;--hair:#45423c;--accent:#56b4e9;--guess:#e69f00;--paper:#191816"

_ROW_HEIGHT = 34
_TOP = 30
_CHARACTER = 7.4


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the field of the plot lies inside the picture."""

    width: float
    left: float
    right: float
    stacked: bool

    def x(self, at: float) -> float:
        return round(self.left + at * (self.right - self.left), 1)

    @property
    def row_height(self) -> float:
        # On a narrow picture the label stands above its row rather than beside it.
        return _ROW_HEIGHT + 14 if self.stacked else _ROW_HEIGHT


def svg(dots: Dots, width: int = 680, *, standalone: bool = False) -> str:
    """The plot, `width` units wide; a standalone one carries its own colours, title and name space."""
    stacked = width < 480
    figures = [numbers.quantity(row.value, dots.axis.unit) for row in dots.rows]
    longest = max(len(row.label) for row in dots.rows)
    left = 8.0 if stacked else min(longest * _CHARACTER + 16, width * 0.4)
    right = width - (8.0 if stacked else max(map(len, figures)) * _CHARACTER + 18)
    frame = _Frame(width, left, right, stacked)
    above = _title(dots, width) if standalone else []
    top = _TOP + (26 + 16 * (len(above) - 1) if standalone else 0)
    bottom = top + frame.row_height * len(dots.rows)
    body = [
        *above,
        f'<text x="8" y="{top - 14}" class="quiet">{escape(dots.axis_title)}</text>',
        *_ground(dots, frame, top, bottom),
    ]
    for index, (row, figure) in enumerate(zip(dots.rows, figures, strict=True)):
        body += _row(row, figure, dots, frame, top + frame.row_height * (index + 0.5))
    height = bottom + 44
    attributes = f'class="plot" viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(_spoken(dots, figures))}"'
    if standalone:
        dark = f"@media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}"
        style = f"<style>svg {{ {LIGHT}; background: var(--paper) }} {dark} {STYLE}</style>"
        attributes += f' xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}"'
        body.insert(0, style)
    return f"<svg {attributes}>{''.join(body)}</svg>"


def _title(dots: Dots, width: float) -> list[str]:
    """The finding, and below it what, where and when on as many lines as it takes."""
    words = [f'<text x="8" y="20" style="font-size:15px;font-weight:600">{escape(dots.title)}</text>']
    for index, line in enumerate(textwrap.wrap(dots.subtitle, int(width / 6.2))):
        words.append(f'<text x="8" y="{39 + 16 * index}" class="quiet" style="font-size:11px">{escape(line)}</text>')
    return words


def _ground(dots: Dots, frame: _Frame, top: float, bottom: float) -> Iterator[str]:
    """The noise band, the axis with its labels, and the baseline: everything behind the rows."""
    if dots.floor:
        low, high = (frame.x(dots.axis.place(end)) for end in dots.floor)
        yield f'<rect class="band" x="{low:g}" y="{top:g}" width="{max(high - low, 1):g}" height="{bottom - top:g}"/>'
    yield f'<line class="rule" x1="{frame.left:g}" x2="{frame.right:g}" y1="{bottom + 6:g}" y2="{bottom + 6:g}"/>'
    free_from = -1.0
    for tick in dots.axis.ticks(most=4 if frame.stacked else 6):
        x, half = frame.x(tick.at), len(tick.label) * _CHARACTER / 2
        if x - half < free_from:
            continue
        free_from = x + half + 10
        anchor = "start" if x - half < 0 else "end" if x + half > frame.width else "middle"
        yield f'<line class="rule" x1="{x:g}" x2="{x:g}" y1="{top:g}" y2="{bottom + 10:g}"/>'
        yield f'<text class="quiet" x="{x:g}" y="{bottom + 26:g}" text-anchor="{anchor}">{escape(tick.label)}</text>'
    if dots.baseline is not None and len(dots.rows) > 1:
        x = frame.x(dots.axis.place(dots.baseline))
        yield f'<line class="base" x1="{x:g}" x2="{x:g}" y1="{top:g}" y2="{bottom + 6:g}"/>'


def _row(row: Row, figure: str, dots: Dots, frame: _Frame, middle: float) -> Iterator[str]:
    kind = "home" if row.is_baseline else "mark"
    at = middle + (8 if frame.stacked else 0)
    if frame.stacked:
        yield f'<text x="{frame.left:g}" y="{middle - 8:g}">{escape(row.label)}</text>'
        yield f'<text x="{frame.right:g}" y="{middle - 8:g}" text-anchor="end">{escape(figure)}</text>'
    else:
        yield f'<text x="8" y="{middle + 4:g}">{escape(row.label)}</text>'
        yield f'<text x="{frame.width - 4:g}" y="{middle + 4:g}" text-anchor="end">{escape(figure)}</text>'
    for trial in row.trials:
        yield f'<circle class="trial" cx="{frame.x(dots.axis.place(trial)):g}" cy="{at:g}" r="3"/>'
    if row.low is not None and row.high is not None:
        low, high = frame.x(dots.axis.place(row.low)), frame.x(dots.axis.place(row.high))
        yield f'<line class="{kind} span" x1="{low:g}" x2="{high:g}" y1="{at:g}" y2="{at:g}"/>'
    for predicted in row.predicted:
        yield f'<circle class="guess" cx="{frame.x(dots.axis.place(predicted)):g}" cy="{at:g}" r="6"/>'
    x = frame.x(dots.axis.place(row.value))
    if row.modelled:
        # A hollow diamond: what a model says must not be taken for what was seen.
        yield f'<path class="model" d="M{x - 6:g} {at:g}l6 -6l6 6l-6 6z"/>'
    else:
        yield f'<circle class="{kind}" cx="{x:g}" cy="{at:g}" r="4.5"/>'


def _spoken(dots: Dots, figures: list[str]) -> str:
    """The plot in words, for those who do not see it."""
    rows = "; ".join(f"{row.label}: {figure}" for row, figure in zip(dots.rows, figures, strict=True))
    return f"{dots.title}. {dots.axis_title}. {rows}."
