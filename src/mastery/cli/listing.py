"""List the articles with their experiments; nothing of them is executed."""

import argparse
from typing import Any

from mastery.catalogue.catalogue import Article, Catalogue, load_catalogue
from mastery.catalogue.declared import Listing
from mastery.cli.terminal import Terminal
from mastery.report.plain_text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("article", nargs="?", metavar="ARTICLE", help="one article by number, id, folder, file or slug")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    articles = (catalogue.article(arguments.article),) if arguments.article else catalogue.articles
    if terminal.is_json:
        terminal.document({"articles": [as_value(article) for article in articles]})
    else:
        for article in articles:
            _show(article, terminal)
        if articles:
            terminal.say("Run one with: mastery run ID")
    note_complaints(catalogue, terminal)
    return 0


def note_complaints(catalogue: Catalogue, terminal: Terminal) -> None:
    """What could not be taken into the catalogue, on stderr."""
    for complaint in catalogue.complaints:
        where = f"{complaint.file}, line {complaint.line}: " if complaint.line and str(complaint.file) not in complaint.text else ""
        terminal.note(f"mastery: {printable(where + complaint.text)} {printable(complaint.remedy)}")


def as_value(article: Article) -> dict[str, Any]:
    """An article as `list --json` gives it."""
    front = article.front
    return {
        "number": front.number,
        "id": front.id,
        "slug": front.slug,
        "title": front.title,
        "part": front.part,
        "tradeoff": front.tradeoff,
        "status": front.status.value,
        "summary": front.summary,
        "minutes": front.minutes,
        "origin": article.origin or None,
        "experiments": [{"id": each.id, "question": each.question} for each in article.experiments],
    }


def _show(article: Article, terminal: Terminal) -> None:
    front = article.front
    marks = [mark for mark in (article.origin, "being written" if front.status == "wip" else "") if mark]
    mark = f"  ({', '.join(marks)})" if marks else ""
    terminal.say(f"{printable(front.number)}  {printable(front.title)}{printable(mark)}", hang=4)
    widest = max((len(each.id) for each in article.experiments), default=0)
    for listing in article.experiments:
        show_listing(listing, terminal, widest)
    terminal.say()


def show_listing(listing: Listing, terminal: Terminal, widest: int) -> None:
    """An experiment in one entry: its id, and its question beside it."""
    terminal.say(f"    {printable(listing.id):<{widest}}  {printable(listing.question)}".rstrip(), hang=6 + widest)
