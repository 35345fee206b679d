"""Decide from a measured run: which arm meets your needs, how surely, and what would flip the answer. Exit 1: none does."""

import argparse
from typing import Any

import msgspec

from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.cli.shelf import find_in, opened, reference_runs
from mastery.cli.terminal import Terminal
from mastery.errors import UnknownName
from mastery.lab.claim import Relation
from mastery.lab.document import ArmRecord, RunDocument
from mastery.lab.machine import capture
from mastery.report import labels, numbers
from mastery.report.decide import Answer, Direction, Flip, decide
from mastery.report.figures import Column, Table
from mastery.report.need import parse_need
from mastery.report.plain_text import printable
from mastery.report.sourced import Provenance, SourcedRun
from mastery.report.table import tables
from mastery.store.records import Origin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="an experiment, an article, or a run's id")
    parser.add_argument("--need", action="append", default=[], metavar="NEED", help="'p99 <= 5 ms', 'at_risk <= 100'; repeat it")
    parser.add_argument("--reference", action="store_true", help="answer from the reference machine's run instead of yours")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    sourced = _reference(arguments.experiment, catalogue) if arguments.reference else _own(arguments.experiment, catalogue)
    needs = [parse_need(text, sourced.document) for text in arguments.need]
    answer = decide(sourced, needs, here=capture().fingerprint)
    if terminal.is_json:
        terminal.document(_as_value(answer))
    else:
        _show(answer, terminal)
    return 0 if answer.recommended else 1


def _own(name: str, catalogue: Catalogue) -> SourcedRun:
    """The newest run of the reader's own; one of somebody else's only where its id was typed."""
    with opened() as store:
        row = find_in(store, name, catalogue)
        assert store is not None, "a store in which a run was found"
        return SourcedRun(store.run(row.id), Provenance.OWN if row.origin is Origin.OWN else Provenance.IMPORTED)


def _reference(name: str, catalogue: Catalogue) -> SourcedRun:
    wanted = catalogue.experiment(name).id
    found = [each for each in reference_runs(catalogue) if each.document.experiment == wanted]
    if not found:
        raise UnknownName("reference run of", wanted, [], remedy=f"Measure it here: mastery run {wanted}")
    return max(found, key=lambda each: each.document.started)


def _as_value(answer: Answer) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(answer)
    # The document is what `results RUN --json` gives; here its id is enough.
    value["run"] = {"id": answer.run.document.id, "provenance": answer.run.provenance.value}
    return value


def _show(answer: Answer, terminal: Terminal) -> None:
    document = answer.run.document
    needs = " and ".join(printable(need.text) for need in answer.needs)
    if answer.recommended is None:
        terminal.say(f"No arm satisfies {needs}.")
    else:
        terminal.say(f"{labels.named(document, answer.recommended.arm.index)} {answer.sureness} satisfies {needs}.", hang=2)
    for tie in answer.ties:
        share = f"; on the frontier in {numbers.share(tie.share)} of resamples" if tie.share is not None else ""
        terminal.say(f"As good: {labels.named(document, tie.arm.index)} ({printable(tie.why)}{share}).", hang=2)
    terminal.say()
    for index, table in enumerate(tables(_table(answer), terminal.width)):
        if index:
            terminal.say()
        terminal.draw(table)
    _say_why(answer, terminal)
    if answer.flips:
        terminal.write("\nWhat would flip it\n")
        for flip in answer.flips:
            terminal.say(f"  {_flip(document, flip)}", hang=4)
    terminal.write("\nHow far to trust it\n")
    terminal.say(
        f"  From {answer.run.provenance} run {printable(document.id)} of {document.started[:10]}, {document.mode}.", hang=4
    )
    for caution in answer.cautions:
        terminal.say(f"  {printable(caution.text)} {printable(caution.remedy)}".rstrip(), hang=4)


def _table(answer: Answer) -> Table:
    document = answer.run.document
    arms = [each for each in answer.arms if not each.arm.skipped]
    names = tuple(labels.short(document, each.arm) + (" *" if each.arm.baseline else "") for each in arms)
    columns = [
        Column(labels.heading(document), names, right=False),
        Column("all needs", tuple(each.sureness.value for each in arms), right=False),
    ]
    for position, need in enumerate(answer.needs):
        figures = [each.reaches[position] for each in arms]
        shown = tuple("" if each.measured is None else need.shown(each.measured) for each in figures)
        columns.append(Column(printable(need.metric), shown))
        columns.append(Column(printable(need.text), tuple(each.answers[position].value for each in arms), right=False))
    return Table(tuple(columns))


def _say_why(answer: Answer, terminal: Terminal) -> None:
    """Where the thresholds of the recommended arm come from."""
    if answer.recommended is None:
        return
    terminal.say()
    for need, reach in zip(answer.needs, answer.recommended.reaches, strict=True):
        terminal.say(f"  {printable(need.metric)}: {printable(reach.why)}", hang=4)


def _flip(document: RunDocument, flip: Flip) -> str:
    threshold = flip.need.shown(flip.threshold)
    then = _pick(document, flip.then)
    sure = f" ({flip.sureness})" if flip.then else ""
    metric = printable(flip.need.metric)
    if flip.direction is Direction.TIGHTER:
        word = "below" if flip.need.relation is Relation.AT_MOST else "above"
        return f"With {metric} needed {word} {threshold}, the answer is {then}{sure}."
    return f"With {metric} {flip.need.relation} {threshold} allowed, the answer is {then}{sure}."


def _pick(document: RunDocument, arm: ArmRecord | None) -> str:
    return "no arm" if arm is None else labels.named(document, arm.index)
