"""Show how the claims of the articles stand on this machine, and what is only cited."""

import argparse
from collections.abc import Iterator

import msgspec

from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.cli.shelf import opened, reference_runs
from mastery.cli.terminal import Terminal
from mastery.errors import UnknownName
from mastery.lab.machine import capture
from mastery.report import sentences
from mastery.report.ledger import Ledger, LedgerEntry, claims_ledger
from mastery.report.plain_text import printable
from mastery.report.sourced import Provenance, SourcedRun
from mastery.store.records import Origin, Standing

_WORD_WIDTH = max(map(len, sentences.STANDING.values())) + 2

_BEGIN = "No run of yours has tested a claim yet. Begin with: mastery run fsync-cost --quick"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="only those of this experiment or article")
    parser.add_argument("--history", action="store_true", help="every standing, not only the newest here")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    wanted = _experiments(arguments.name, catalogue)
    ledger = claims_ledger(_runs(wanted, catalogue), here=capture().fingerprint)
    if terminal.is_json:
        terminal.document(msgspec.to_builtins(ledger))
        return 0
    _show(ledger, terminal, with_history=arguments.history)
    return 0


def _experiments(name: str | None, catalogue: Catalogue) -> frozenset[str] | None:
    """The experiments that the name stands for; None for all. A file of the user's own is known by its experiment's id."""
    if name is None:
        return None
    article = catalogue.find_article(name)
    if article is not None:
        return frozenset(listing.id for listing in article.experiments)
    known = {listing.id for listing in catalogue.experiments()}
    with opened() as store:
        known |= {row.experiment for row in store.runs()} if store else set()
    if name not in known:
        raise UnknownName("experiment", name, sorted(known), remedy="See `mastery list`.")
    return frozenset({name})


def _runs(wanted: frozenset[str] | None, catalogue: Catalogue) -> Iterator[SourcedRun]:
    """The newest runs first, one document in memory at a time."""
    with opened() as store:
        for row in store.runs() if store else []:
            if row.standing is not Standing.OPEN and (wanted is None or row.experiment in wanted):
                assert store is not None, "rows come from a store"
                yield SourcedRun(store.run(row.id), Provenance.OWN if row.origin is Origin.OWN else Provenance.IMPORTED)
    for run in reference_runs(catalogue):
        if wanted is None or run.document.experiment in wanted:
            yield run


def _show(ledger: Ledger, terminal: Terminal, *, with_history: bool) -> None:
    if not ledger.entries and not ledger.cited:
        terminal.say(_BEGIN)
        return
    experiment = ""
    for entry in ledger.entries:
        if entry.experiment != experiment:
            terminal.write(f"{'' if not experiment else chr(10)}{printable(entry.experiment)}\n")
            experiment = entry.experiment
        _show_entry(entry, terminal, with_history=with_history)
    if ledger.cited:
        terminal.write("\nCited, not measured here\n")
    for cited in ledger.cited:
        record = cited.cited
        terminal.say(f"  {printable(record.text)} ({printable(record.source)}, {printable(record.version)})", hang=2)
    if not any(entry.newest for entry in ledger.entries):
        terminal.write("\n")
        terminal.say(_BEGIN)


def _show_entry(entry: LedgerEntry, terminal: Terminal, *, with_history: bool) -> None:
    newest = entry.newest
    word = sentences.STANDING[newest.claim.standing] if newest else "not run"
    measured = sentences.claim_measured(newest.claim) if newest else ""
    text = f"{printable(entry.text)}{f' [{measured}]' if measured else ''}"
    mark = " It has held and failed here." if entry.changed else ""
    elsewhere = next((each for each in entry.history if each.provenance is Provenance.REFERENCE), None)
    if newest is None and elsewhere is not None:
        mark = f" [{sentences.STANDING[elsewhere.claim.standing]} on the reference machine]"
    terminal.say(f"  {word:<{_WORD_WIDTH}}{text}{mark}", hang=2 + _WORD_WIDTH)
    for standing in entry.history if with_history else ():
        where = "this machine" if standing.is_here else f"{standing.provenance}: {standing.machine}"
        said = (
            f"{standing.started[:10]} {sentences.STANDING[standing.claim.standing]}, {standing.mode}, {where}, run {standing.run}"
        )
        other = " (worded otherwise)" if standing in entry.reworded else ""
        terminal.say(f"  {'':<{_WORD_WIDTH}}{printable(said)}{other}", hang=4 + _WORD_WIDTH)
