"""Cite a run: one sentence and BibTeX; with --bundle a folder that recomputes every figure without us."""

import argparse
from pathlib import Path

from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.cli.results import write_file
from mastery.cli.shelf import find_in, opened
from mastery.cli.terminal import Terminal
from mastery.errors import DomainError
from mastery.report.cite import bundle, cite
from mastery.report.plain_text import printable
from mastery.report.sourced import Provenance, SourcedRun
from mastery.store.records import Origin

# The lock stands in the repository; an installation from a wheel has none, and says so in its place.
_LOCK = Path(__file__).resolve().parents[3] / "requirements.lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id, `latest`, an experiment or article")
    parser.add_argument("--bundle", metavar="FOLDER", help="write run, experiment, lock and recomputing script into a new folder")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    catalogue = load_catalogue()
    with opened() as store:
        row = find_in(store, arguments.run, catalogue)
        assert store is not None, "a store in which a run was found"
        sourced = SourcedRun(store.run(row.id), Provenance.OWN if row.origin is Origin.OWN else Provenance.IMPORTED)
    citation = cite(sourced)
    files = _write_bundle(sourced, Path(arguments.bundle), catalogue) if arguments.bundle else []
    if terminal.is_json:
        terminal.document({"run": sourced.document.id, "sentence": citation.sentence, "bibtex": citation.bibtex, "files": files})
        return 0
    terminal.write(f"{printable(citation.sentence)}\n\n{citation.bibtex}")
    if files:
        terminal.note(f"Written into {printable(arguments.bundle)}: {', '.join(files)}. Check it with: python3 recompute.py")
    return 0


def _write_bundle(sourced: SourcedRun, folder: Path, catalogue: Catalogue) -> list[str]:
    experiment = sourced.document.experiment
    listing = next((each for each in catalogue.experiments() if each.id == experiment), None)
    lock = _LOCK.read_bytes() if _LOCK.is_file() else b"# Installed without its lock file.\n"
    files = bundle(sourced, source=listing.file.read_bytes() if listing else None, lock=lock)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as taken:
        raise DomainError(f"{folder} exists already.", remedy="Name a folder that is not there yet.") from taken
    except OSError as refused:
        raise DomainError(f"{folder} cannot be made: {refused.strerror}.", remedy="Name a folder in one of yours.") from refused
    for name, content in files.items():
        write_file(folder / name, content)
    return sorted(files)
