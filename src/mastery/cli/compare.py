"""Compare two runs of one experiment: differences with intervals, a verdict only where the spread between runs is known."""

import argparse

import msgspec

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.shelf import find_in, opened
from mastery.cli.terminal import Terminal
from mastery.lab.document import RunDocument
from mastery.report import labels, numbers
from mastery.report.comparison import Change, Comparison, Difference, Figure, compare
from mastery.report.figures import Column, Table
from mastery.report.plain_text import printable
from mastery.report.sourced import fingerprint
from mastery.report.table import tables
from mastery.store.records import Origin
from mastery.store.store import Store

# From how many earlier runs at the most the spread between runs is learnt.
_MOST_EARLIER = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN", help="the run to compare with (before)")
    parser.add_argument("second", metavar="RUN", help="the run that is compared (after)")
    parser.add_argument("--all", action="store_true", help="every metric, not only the primary one and the guardrails")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    with opened() as store:
        rows = [find_in(store, name, catalogue) for name in (arguments.first, arguments.second)]
        assert store is not None, "a store in which runs were found"
        first, second = (store.run(row.id) for row in rows)
        comparison = compare(first, second, earlier=_earlier(store, first))
    if terminal.is_json:
        terminal.document(_as_value(comparison))
        return 0
    _show(comparison, terminal, everything=arguments.all)
    return 0


def _earlier(store: Store, model: RunDocument) -> list[RunDocument]:
    rows = store.runs(experiment=model.experiment, origin=Origin.OWN, machine=fingerprint(model), limit=_MOST_EARLIER)
    return [store.run(row.id) for row in rows if row.standing == "closed"]


def _as_value(comparison: Comparison) -> dict[str, object]:
    """The comparison by the runs' ids: their documents are what `results RUN --json` gives."""
    return {
        "first": comparison.first.id,
        "second": comparison.second.id,
        "experiment": comparison.first.experiment,
        "earlier_runs": comparison.earlier,
        "differences": msgspec.to_builtins(comparison.differences),
        "only_first": msgspec.to_builtins(comparison.only_first),
        "only_second": msgspec.to_builtins(comparison.only_second),
        "cautions": msgspec.to_builtins(comparison.cautions),
    }


def _show(comparison: Comparison, terminal: Terminal, *, everything: bool) -> None:
    first, second = comparison.first, comparison.second
    terminal.say(f"{printable(first.experiment)}: {printable(first.id)} against {printable(second.id)}")
    wanted = [
        each for each in comparison.differences if everything or each.metric.role == "guardrail" or each.metric == first.primary
    ]
    for metric in dict.fromkeys(each.metric.name for each in wanted):
        rows = [each for each in wanted if each.metric.name == metric and (each.first or each.second)]
        if rows:
            terminal.say()
            for table in tables(_table(first, metric, rows), terminal.width):
                terminal.draw(table)
    terminal.say()
    terminal.say(_about_spread(comparison))
    for arms, whose in ((comparison.only_first, first), (comparison.only_second, second)):
        if arms:
            named = ", ".join(printable(arm.label) for arm in arms)
            terminal.say(f"Only in {printable(whose.id)}: {named}.", hang=2)
    for caution in comparison.cautions:
        terminal.say(f"{printable(caution.text)} {printable(caution.remedy)}".rstrip(), hang=2)


def _table(document: RunDocument, metric: str, rows: list[Difference]) -> Table:
    def cells(figures: list[Figure | None], unit: str) -> tuple[str, ...]:
        return tuple("" if each is None else numbers.with_span(each.value, each.low, each.high, unit) for each in figures)

    unit = rows[0].metric.unit
    changes = tuple("" if each.change is Change.UNKNOWN else each.change.value.split()[0] for each in rows)
    columns = [
        Column(labels.heading(document), tuple(labels.short(document, each.arm) for each in rows), right=False),
        Column(f"{printable(metric)}, before", cells([each.first for each in rows], unit)),
        Column("after", cells([each.second for each in rows], unit)),
        Column("after/before", tuple("" if each.ratio is None else f"× {numbers.ratio(each.ratio)}" for each in rows)),
        Column("spread", changes, right=False),
    ]
    return Table(tuple(column for column in columns if any(column.cells)))


def _about_spread(comparison: Comparison) -> str:
    spreads = [each.spread for each in comparison.differences if each.change is not Change.UNKNOWN and each.spread]
    earlier = numbers.counted(comparison.earlier, "earlier run")
    if not spreads:
        return (
            "No verdict: two runs differ by what was changed and by everything else, and how far equal runs lie apart "
            f"is not known here ({earlier} made alike; three are needed)."
        )
    widest = max(spread.factor for spread in spreads)
    return (
        "Within: what two equal runs differ by. Beyond: more than that. "
        f"Learnt from {earlier}; equal runs lie up to {numbers.ratio(widest)} times apart."
    )
