"""Show what a run found: table, plot, verdicts, claims; or write it as a page, Markdown, JSON, a picture."""

import argparse
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.shelf import find_in, note_closed, opened
from mastery.cli.show import next_steps, show_run
from mastery.cli.terminal import Terminal
from mastery.errors import DomainError, StoreError, UnknownName, UsageError
from mastery.lab.document import RunDocument
from mastery.report.figures import Column, Table
from mastery.report.markdown import markdown
from mastery.report.page import page
from mastery.report.picture import KINDS, picture
from mastery.report.plain_text import printable
from mastery.report.table import tables
from mastery.store.records import Origin, RunRow, Standing
from mastery.workbench import close_killed_runs

_MOST_ROWS = 20
_IMPORTED = "Imported: measured by somebody else or elsewhere, not by you on this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id or its beginning, `latest`, an experiment or article")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page (- for stdout)")
    parser.add_argument("--md", nargs="?", const="-", metavar="FILE", help="write Markdown (stdout without a FILE)")
    parser.add_argument("--plot", metavar="FILE", help="write the plot: .svg, .png (extra plots) or .json (Vega-Lite)")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0], help="which plot --plot writes")
    parser.add_argument("--metric", metavar="NAME", help="plot this metric instead of the primary one")
    parser.add_argument("--all", action="store_true", help="list every run, not only the newest")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    _close_killed(terminal)
    wants_one = arguments.run or arguments.html or arguments.md or arguments.plot
    if not wants_one:
        return _list(terminal, everything=arguments.all)
    catalogue = load_catalogue()
    if terminal.is_json and not (arguments.html or arguments.md or arguments.plot):
        with opened() as store:
            row = find_in(store, arguments.run, catalogue)
            assert store is not None, "a store in which a run was found"
            terminal.raw_document(store.document(row.id))
        return 0
    with opened() as store:
        row = find_in(store, arguments.run, catalogue)
        assert store is not None, "a store in which a run was found"
        document = store.run(row.id)
    whose = "" if row.origin is Origin.OWN else _IMPORTED
    _check_metric(document, arguments.metric)
    written = _write_files(arguments, document, terminal, whose=whose)
    if terminal.is_json:
        terminal.document({"run": document.id, "written": written})
    elif not (arguments.html or arguments.md or arguments.plot):
        show_run(document, terminal, metric=arguments.metric, whose=whose)
        terminal.write("\nNext\n")
        for line in next_steps(document):
            terminal.write(f"  {line}\n")
    return 0


def _close_killed(terminal: Terminal) -> None:
    """Closes what was killed, so that it can be shown; a home that cannot be written is read as it is."""
    with opened() as store:
        has_open = store is not None and bool(store.runs(standing=Standing.OPEN, limit=1))
    if has_open:
        with suppress(StoreError):
            note_closed(close_killed_runs(load_catalogue()), terminal)


def _check_metric(document: RunDocument, name: str | None) -> None:
    known = [metric.name for metric in document.metrics]
    if name is not None and name not in known:
        raise UnknownName("metric", name, known, remedy=f"Metrics of this run: {', '.join(map(printable, known))}.")


def _write_files(arguments: argparse.Namespace, document: RunDocument, terminal: Terminal, *, whose: str) -> list[str]:
    """Writes every form that was asked for; `-` is stdout. Gives the files."""
    forms: dict[str, bytes] = {}
    places = [place for place in (arguments.html, arguments.md, arguments.plot) if place]
    if len(set(places)) < len(places):
        raise UsageError("Two forms would be written to the same place.", remedy="Give each a file of its own.")
    if "-" in places and terminal.is_json:
        raise UsageError("With --json stdout holds one document.", remedy="Give the form a file of its own.")
    if arguments.html:
        forms[arguments.html] = page(document, whose=whose).encode()
    if arguments.md:
        forms[arguments.md] = markdown(document, whose=whose).encode()
    if arguments.plot:
        forms[arguments.plot] = picture(document, arguments.kind, Path(arguments.plot).suffix.lower(), metric=arguments.metric)
    for place, content in forms.items():
        if place == "-":
            terminal.raw_lines(content)
        else:
            write_file(Path(place), content)
            terminal.note(f"Written: {printable(place)}")
    return [place for place in forms if place != "-"]


def write_file(path: Path, content: bytes) -> None:
    """Writes the whole file or none of it: a full disk never leaves half a page under its name."""
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as refused:
        raise DomainError(f"{path} cannot be written: {refused.strerror}.", remedy="Name a file in a folder of yours.") from refused
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(beside).chmod(0o666 & ~umask)
        Path(beside).replace(path)
    except OSError as refused:
        Path(beside).unlink(missing_ok=True)
        raise DomainError(
            f"{path} cannot be written: {refused.strerror}.", remedy="Free some space, or name another file."
        ) from refused


def _list(terminal: Terminal, *, everything: bool) -> int:
    with opened() as store:
        rows = store.runs(limit=None if everything else _MOST_ROWS + 1) if store else []
    if terminal.is_json:
        terminal.document({"runs": [as_value(row) for row in rows]})
    elif not rows:
        terminal.say("Nothing was run yet. Begin with: mastery run fsync-cost --quick")
    else:
        shown = rows if everything else rows[:_MOST_ROWS]
        for table in tables(_table(shown), terminal.width):
            terminal.draw(table)
        if len(shown) < len(rows):
            terminal.say("There are older ones: mastery results --all")
        terminal.say("Show one with: mastery results RUN")
    return 0


def as_value(row: RunRow) -> dict[str, Any]:
    """A run as a list gives it in JSON."""
    return {
        "id": row.id,
        "experiment": row.experiment,
        "article": row.article,
        "mode": row.mode,
        "started": row.started,
        "finished": row.finished,
        "standing": row.standing.value,
        "origin": row.origin.value,
        "hash": row.hash,
    }


def _table(rows: list[RunRow]) -> Table:
    def column(heading: str, cells: list[str]) -> Column:
        return Column(heading, tuple(map(printable, cells)), right=False)

    whose = ["" if row.origin is Origin.OWN else "imported" for row in rows]
    columns = (
        column("run", [row.id for row in rows]),
        column("experiment", [row.experiment for row in rows]),
        column("mode", [row.mode for row in rows]),
        column("started, UTC", [row.started[:16].replace("T", " ") for row in rows]),
        column("standing", ["" if row.standing == "closed" else row.standing.value for row in rows]),
        column("origin", whose),
    )
    return Table(tuple(each for each in columns if any(each.cells)))
