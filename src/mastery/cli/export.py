"""Export all runs and events as lines of JSON: a backup, and what another machine can import."""

import argparse
import io
from pathlib import Path

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.results import write_file
from mastery.cli.shelf import find_in, opened
from mastery.cli.terminal import Terminal
from mastery.errors import UsageError
from mastery.report.numbers import counted
from mastery.report.plain_text import printable
from mastery.store.transfer import Exported, export_to


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="*", metavar="RUN", help="only these runs (and no events); all without a name")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="the file to write; stdout without it")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if terminal.is_json and arguments.output == "-":
        raise UsageError("With --json the lines need a file of their own.", remedy="Add `--output FILE`.")
    catalogue = load_catalogue()
    lines = io.BytesIO()
    with opened() as store:
        ids = [find_in(store, name, catalogue).id for name in arguments.run] if arguments.run else None
        counts = export_to(store, lines, ids=ids) if store else Exported(0, 0)
    if arguments.output == "-":
        terminal.raw_lines(lines.getvalue())
    else:
        write_file(Path(arguments.output), lines.getvalue())
    said = f"{counted(counts.runs, 'run')} and {counted(counts.events, 'event')} exported"
    if terminal.is_json:
        terminal.document({"file": arguments.output, "runs": counts.runs, "events": counts.events})
    else:
        terminal.note(f"{said}{'' if arguments.output == '-' else f' to {printable(arguments.output)}'}.")
    return 0
