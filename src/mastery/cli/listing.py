"""List the articles with their experiments; nothing of them is executed."""

import argparse
from collections.abc import Sequence
from typing import Any

from mastery.catalogue.catalogue import Article, Catalogue, load_catalogue
from mastery.catalogue.declared import Listing
from mastery.catalogue.front_matter import Status
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
        _show_all(articles, terminal)
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


def _show_all(articles: Sequence[Article], terminal: Terminal) -> None:
    """By part, as the series has it; what holds for every article is said once."""
    all_in_work = all(article.front.status is Status.WIP for article in articles)
    part = None
    for article in articles:
        if article.front.part != part:
            terminal.write(f"{'' if part is None else chr(10)}{printable(article.front.part)}\n")
            part = article.front.part
        _show(article, terminal, with_status=not all_in_work)
    terminal.say()
    if all_in_work and articles:
        terminal.say("The texts are being written; the experiments that are listed can be run.")
    terminal.say("Run one with: mastery run ID")


def _show(article: Article, terminal: Terminal, *, with_status: bool) -> None:
    front = article.front
    status = "being written" if with_status and front.status is Status.WIP else ""
    marks = ", ".join(filter(None, (article.origin, status)))
    terminal.say(f"  {printable(front.number):<6}{printable(front.title)}{f'  ({printable(marks)})' if marks else ''}", hang=8)
    widest = max((len(each.id) for each in article.experiments), default=0)
    for listing in article.experiments:
        show_listing(listing, terminal, widest, indent=8)


def show_listing(listing: Listing, terminal: Terminal, widest: int, *, indent: int = 4) -> None:
    """An experiment in one entry: its id, and its question beside it."""
    text = f"{' ' * indent}{printable(listing.id):<{widest}}  {printable(listing.question)}"
    terminal.say(text.rstrip(), hang=indent + 2 + widest)
