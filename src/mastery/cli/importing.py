"""Import runs and events from an export: all or nothing, hashes recomputed, everything labelled as imported."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mastery.cli.terminal import Terminal
from mastery.errors import UsageError
from mastery.report.numbers import counted
from mastery.store.home import database
from mastery.store.records import Imported
from mastery.store.store import Store
from mastery.store.transfer import import_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `mastery export` wrote (- for stdin)")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.file == "-":
        taken = _take(sys.stdin.buffer)
    else:
        try:
            file = Path(arguments.file).open("rb")  # noqa: SIM115 -- closed below; only the opening may fail as a wrong word
        except OSError as refused:
            raise UsageError(
                f"{arguments.file} cannot be read: {refused.strerror}.", remedy="Name a file of `mastery export`."
            ) from refused
        with file:
            taken = _take(file)
    if terminal.is_json:
        terminal.document({"runs": taken.runs, "events": taken.events, "known": taken.known})
    else:
        known = f"; {counted(taken.known, 'line')} known already" if taken.known else ""
        terminal.say(f"Imported: {counted(taken.runs, 'run')} and {counted(taken.events, 'event')}{known}.")
    return 0


def _take(file: BinaryIO) -> Imported:
    with Store.open(database()) as store:
        return import_from(store, file, now=datetime.now(UTC))
