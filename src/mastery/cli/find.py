"""Find what measures a setting or explains a symptom, by its words: articles, experiments, your last run."""

import argparse

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.finding import Hit, find
from mastery.cli.listing import as_value, note_complaints, show_listing
from mastery.cli.shelf import opened
from mastery.cli.terminal import Terminal
from mastery.errors import UsageError
from mastery.report.plain_text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="WORD", help="a setting, a system call, a symptom")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    words = [word for phrase in arguments.words for word in phrase.split()]
    if not words:
        raise UsageError("There is no word to look for.", remedy="For example: mastery find fsync")
    hits = find(words, catalogue)
    runs = _last_runs(hits)
    if terminal.is_json:
        found = [
            {**as_value(hit.article), "matching": [each.id for each in hit.experiments], "lines": list(hit.lines)} for hit in hits
        ]
        terminal.document({"words": words, "hits": found, "last_runs": runs})
    else:
        for hit in hits:
            _show(hit, runs, terminal)
        if not hits:
            terminal.say(f"Nothing speaks of {printable(' '.join(words))}. See `mastery list`.")
    note_complaints(catalogue, terminal)
    return 0


def _last_runs(hits: tuple[Hit, ...]) -> dict[str, str]:
    """The newest run of each experiment that was found, by the experiment's id."""
    with opened() as store:
        if store is None:
            return {}
        newest = {each.id: store.runs(experiment=each.id, limit=1) for hit in hits for each in hit.experiments}
    return {experiment: rows[0].id for experiment, rows in newest.items() if rows}


def _show(hit: Hit, runs: dict[str, str], terminal: Terminal) -> None:
    front = hit.article.front
    terminal.say(f"{printable(front.number)}  {printable(front.title)}", hang=4)
    for line in hit.lines:
        terminal.say(f"    {printable(line)}", hang=4)
    widest = max((len(each.id) for each in hit.experiments), default=0)
    for listing in hit.experiments:
        show_listing(listing, terminal, widest)
        if listing.id in runs:
            terminal.say(f"    {'':<{widest}}  last run: mastery results {printable(runs[listing.id])}", hang=6 + widest)
    terminal.say()
