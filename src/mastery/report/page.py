"""A run as one HTML file to show a colleague: no request to anybody, light and dark, readable on a phone and on paper."""

import base64
import csv
import io
from html import escape

from mastery.lab.document import RunDocument, canonical
from mastery.report import figures, sentences
from mastery.report.dots import dots_of
from mastery.report.plain_text import printable
from mastery.report.plot_svg import DARK, LIGHT, STYLE, svg
from mastery.report.telling import Section, setting, telling

# No script runs and nothing is fetched, even if a hostile name should ever slip through the escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# As many characters of a table as the column of text holds; a wider one is cut into several.
_COLUMNS = 70

_SHEET = f"""
:root {{ color-scheme: light dark; {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--paper); color: var(--ink);
  font: 19px/1.55 "Iowan Old Style", Charter, "Palatino Linotype", Palatino, Georgia, serif }}
main {{ max-width: 36em; margin: 0 auto; padding: 2.5em 1.2em 4em }}
h1 {{ font-size: 1.6em; line-height: 1.2; margin: .2em 0 .5em; font-weight: 600; text-wrap: balance; overflow-wrap: break-word }}
h2 {{ font-size: 1em; font-weight: 600; margin: 2.4em 0 .5em }}
p {{ margin: .5em 0; overflow-wrap: break-word }}
.quiet, figcaption, footer {{ color: var(--quiet); font-size: .8em }}
figure {{ margin: 2em 0 1em }}
.plot {{ display: block; width: 100%; height: auto }}
.whole {{ display: inline-block }}
.narrow {{ display: none }}
.scroll {{ overflow-x: auto; margin: 1em 0 }}
table {{ border-collapse: collapse; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
  font-variant-numeric: tabular-nums }}
th:first-child {{ position: sticky; left: 0; background: var(--paper) }}
th, td {{ padding: .25em 1.2em .25em 0; text-align: right; white-space: nowrap; vertical-align: top }}
th {{ font-weight: 600; border-bottom: 1px solid var(--hair) }}
.left, th[scope=row] {{ text-align: left }}
th[scope=row] {{ font-weight: 400; border-bottom: 0 }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2em 1.2em; font: 15px/1.5 system-ui, sans-serif }}
dt {{ color: var(--quiet) }}
dd {{ margin: 0; overflow-wrap: anywhere }}
.claim {{ display: grid; grid-template-columns: 7.2em 1fr; gap: 0 .6em; margin: .7em 0 }}
.claim b {{ font: 600 15px/1.9 system-ui, sans-serif }}
.claim small {{ grid-column: 2; color: var(--quiet); overflow-wrap: anywhere }}
a {{ color: var(--accent) }}
{STYLE}
@media (max-width: 560px) {{
  body {{ font-size: 18px }}
  main {{ padding-top: 1.4em }}
  .wide {{ display: none }} .narrow {{ display: block }}
  .claim, dl {{ grid-template-columns: 1fr; gap: 0 }}
  .claim small {{ grid-column: 1 }}
  dd {{ margin-bottom: .5em }}
}}
@media print {{ :root {{ {LIGHT} }} main {{ max-width: none; padding: 0 }} .download {{ display: none }} }}
"""


def page(document: RunDocument, *, whose: str = "") -> str:
    """The whole file as text; every word that comes from the run is escaped. `whose` labels figures of somebody else's."""
    title = escape(sentences.headline(document))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_SHEET}</style></head><body><main>",
        f'<p class="quiet">{escape(printable(document.question))}</p>',
        f"<h1>{title}</h1>",
        f'<p class="quiet">{_provenance(document)}</p>',
        f"<p><b>{escape(whose)}</b></p>" if whose else "",
        _plot(document),
        *map(_table, figures.fit(figures.table_of(document), _COLUMNS)),
        *map(_section, telling(document)),
        f"<h2>What it holds for</h2><dl>{_setting(document)}</dl>",
        f"<h2>How to read it</h2>{''.join(f'<p>{escape(each)}</p>' for each in sentences.HOW_TO_READ)}",
        _downloads(document),
        "</main></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def trials_as_csv(document: RunDocument) -> str:
    """The raw trials, one a line: what the plot shows as faint points."""
    metrics = [metric.name for metric in document.metrics]
    factors = [factor.name for factor in document.factors]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["block", "arm", "placebo", "cold", "reference", "status", *map(_harmless, [*factors, *metrics])])
    for trial in document.trials:
        levels = document.arm(trial.arm).levels
        row = [trial.block, trial.arm, int(trial.placebo), int(trial.cold), _harmless(trial.reference or ""), trial.status]
        writer.writerow(
            [*row, *(_harmless(levels.get(name, "")) for name in factors), *(trial.metrics.get(name, "") for name in metrics)]
        )
    return text.getvalue()


def _harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula is given a leading apostrophe."""
    text = printable(str(value))
    return (
        "'" + text if isinstance(value, str) and text[:1] in {"=", "+", "-", "@"} else value if not isinstance(value, str) else text
    )


def _provenance(document: RunDocument) -> str:
    """Broken between its parts only: a date or an id is there to be copied."""
    parts = sentences.provenance(document).split(" · ")
    return " · ".join(f'<span class="whole">{escape(part)}</span>' for part in parts)


def _plot(document: RunDocument) -> str:
    dots = None if figures.is_matrix(document) else dots_of(document)
    if dots is None:
        return ""
    wide = svg(dots, 680).replace('class="plot"', 'class="plot wide"', 1)
    narrow = svg(dots, 350).replace('class="plot"', 'class="plot narrow"', 1)
    interval = " with its 95 % interval" if any(row.low is not None for row in dots.rows) else ""
    key = f"Large dot: {dots.dot}{interval}. Faint dots: trials. Dashed line: the baseline."
    key += " Grey band: what noise alone does." if dots.floor else ""
    key += " Hollow diamond: modelled, not measured." if any(row.modelled for row in dots.rows) else ""
    key += " Ring: your prediction." if any(row.predicted for row in dots.rows) else ""
    return f"<figure>{wide}{narrow}<figcaption>{key}</figcaption></figure>"


def _table(table: figures.Table) -> str:
    sides = ["" if column.right else ' class="left"' for column in table.columns]
    head = "".join(f'<th scope="col"{side}>{escape(name)}</th>' for side, name in zip(sides, table.headings, strict=True))
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td{side}>{escape(cell)}</td>' for side, cell in zip(sides[1:], row[1:], strict=True))}</tr>"
        for row in table.rows
    )
    # Focusable, so that a keyboard can scroll what does not fit.
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(section: Section) -> str:
    lines = []
    for line in section.lines:
        note = f"<small>{escape(line.note)}</small>" if line.note else ""
        detail = f' <i class="quiet">{escape(line.detail)}</i>' if line.detail else ""
        if line.word:
            lines.append(f'<div class="claim"><b>{escape(line.word)}</b><span>{escape(line.text)}{detail}</span>{note}</div>')
        else:
            lines.append(f"<p>{escape(line.text)}</p>")
    return f"<h2>{escape(section.heading)}</h2>{''.join(lines)}"


def _setting(document: RunDocument) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in setting(document))


def _downloads(document: RunDocument) -> str:
    """The data inside the file itself, so that a colleague can doubt the figures."""
    files = (("run.json", "application/json", canonical(document)), ("trials.csv", "text/csv", trials_as_csv(document).encode()))
    links = [
        f'<a download="{name}" href="data:{kind};base64,{base64.b64encode(body).decode()}">{name}</a>' for name, kind, body in files
    ]
    return (
        f'<p class="quiet download">Data: {", ".join(links)}. The hash is that of run.json without its field hash (RFC 8785).</p>'
    )
