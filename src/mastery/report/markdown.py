"""A run as Markdown, for a pull request or a wiki."""

import re

from mastery.lab.document import RunDocument
from mastery.report import figures, sentences
from mastery.report.plain_text import printable
from mastery.report.telling import setting, telling


def markdown(document: RunDocument, *, whose: str = "") -> str:
    """Headline, table, sentences and setting; names cannot break out into markup. `whose` labels figures of somebody else's."""
    table = figures.table_of(document)
    lines = [f"# {_safe(sentences.headline(document))}", "", f"_{_safe(printable(document.question))}_", ""]
    lines += [_safe(sentences.provenance(document)), ""]
    lines += [f"**{_safe(whose)}**", ""] if whose else []
    lines += [*_table(table), ""]
    for section in telling(document):
        lines += [f"## {section.heading}", ""]
        for line in section.lines:
            word = f"**{line.word}** " if line.word else ""
            detail = f" [{_safe(line.detail)}]" if line.detail else ""
            note = f" ({_safe(line.note)})" if line.note else ""
            lines.append(f"- {word}{_safe(line.text)}{detail}{note}")
        lines.append("")
    lines += ["## What it holds for", ""]
    lines += [f"- {_safe(name)}: {_safe(value)}" for name, value in setting(document)]
    lines += ["", "## How to read it", "", *(f"- {each}" for each in sentences.HOW_TO_READ)]
    return "\n".join(lines) + "\n"


def _table(table: figures.Table) -> list[str]:
    rule = ["---:" if column.right else ":---" for column in table.columns]
    rows = [list(map(_safe, table.headings)), rule, *(list(map(_safe, row)) for row in table.rows)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _safe(text: str) -> str:
    """Signs that Markdown or HTML would read are escaped; underscores inside words are left as they are."""
    return re.sub(r"([\\`*|<>\[\]&])", r"\\\1", text)
