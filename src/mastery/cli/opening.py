"""What `mastery` alone says: where the reader stands and what is next."""

import argparse

from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.catalogue.declared import Listing
from mastery.cli.shelf import opened
from mastery.cli.terminal import Terminal
from mastery.report.numbers import counted
from mastery.report.plain_text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bare word takes nothing of its own."""


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:  # noqa: ARG001 -- every command takes both
    catalogue = load_catalogue()
    done = _experiments_run()
    left = [listing for listing in catalogue.experiments() if listing.id not in done]
    if terminal.is_json:
        following = {"experiment": left[0].id, "question": left[0].question} if left else None
        terminal.document({"run": sorted(done), "left": [each.id for each in left], "next": following})
        return 0
    terminal.say("Mastery measures backend trade-offs on your own machine.")
    terminal.say()
    _say_standing(catalogue, done, terminal)
    if left:
        _say_next(left[0], bool(done), terminal)
    terminal.say()
    terminal.say("mastery list      all articles and experiments")
    terminal.say("mastery results   your runs")
    terminal.say("mastery doctor    what this machine can run")
    terminal.say("mastery --help    every command")
    return 0


def _experiments_run() -> set[str]:
    with opened() as store:
        return {row.experiment for row in store.runs()} if store else set()


def _say_standing(catalogue: Catalogue, done: set[str], terminal: Terminal) -> None:
    listed = [listing.id for listing in catalogue.experiments()]
    count = sum(each in done for each in listed)
    terminal.say(f"You have run {count} of {counted(len(listed), 'experiment')}.")


def _say_next(listing: Listing, has_begun: bool, terminal: Terminal) -> None:
    terminal.say()
    terminal.say(f"{'Next' if has_begun else 'Begin with'}: {printable(listing.question)}", hang=2)
    terminal.say(f"  mastery run {printable(listing.id)} --quick")
