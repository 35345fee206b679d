"""A run on the terminal: headline, table, small plot, sentences, claims with their word; the same when piped."""

import shlex

from mastery.cli.terminal import Terminal
from mastery.lab.document import RunDocument
from mastery.report import figures, sentences
from mastery.report.dots import dots_of
from mastery.report.need import example
from mastery.report.plain_text import printable
from mastery.report.plot_terminal import plot
from mastery.report.table import result_tables
from mastery.report.telling import Section, setting, telling

_LONG_LIST = 10
_WORD_WIDTH = max(map(len, sentences.STANDING.values())) + 2


def show_run(document: RunDocument, terminal: Terminal, *, metric: str | None = None, whose: str = "") -> None:
    """Prints the whole run; with `-v` also what it holds for and how to read it. `whose` labels what is not the reader's own."""
    terminal.say(f"{sentences.headline(document)}.")
    terminal.say(sentences.provenance(document))
    if whose:
        terminal.say(whose)
    terminal.say()
    for index, table in enumerate(result_tables(document, terminal.width)):
        if index:
            terminal.say()
        terminal.draw(table)
    dots = None if figures.is_matrix(document) else dots_of(document, metric)
    if dots is not None:
        terminal.write("\n" + plot(dots, terminal.width) + "\n")
    for section in telling(document):
        _show_section(section, terminal)
    if terminal.verbose:
        terminal.say("\nWhat it holds for")
        for name, value in setting(document):
            terminal.say(f"  {name:<12} {value}", hang=15)
        terminal.say("\nHow to read it")
        for sentence in sentences.HOW_TO_READ:
            terminal.say(f"  {sentence}", hang=2)


def next_steps(document: RunDocument) -> list[str]:
    """What a reader may do with the run, as commands to copy."""
    # These lines are there to be copied: a name of a stranger's must stay one word of the shell.
    name, experiment = (shlex.quote(printable(each)) for each in (document.id, document.experiment))
    need = example(document)
    decide = [f"mastery decide {experiment} --need {shlex.quote(printable(need))}"] if need else []
    return [f"mastery results {name} --html run.html", *decide, f"mastery cite {name}"]


def _show_section(section: Section, terminal: Terminal) -> None:
    terminal.write("\n" + section.heading + "\n")
    # A long list is read for what is odd in it: what holds needs no figure there.
    is_long = len(section.lines) > _LONG_LIST and not terminal.verbose
    for line in section.lines:
        detail = f" [{line.detail}]" if line.detail and not (is_long and line.word == "holds") else ""
        if line.word:
            terminal.say(f"  {line.word:<{_WORD_WIDTH}}{line.text}{detail}", hang=2 + _WORD_WIDTH)
        else:
            terminal.say(f"  {line.text}", hang=2)
        if line.note and terminal.verbose:
            terminal.say(f"  {'':<{_WORD_WIDTH}}{line.note}", hang=2 + _WORD_WIDTH)
