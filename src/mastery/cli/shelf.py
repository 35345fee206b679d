"""The reader's own store, as the commands open it: an absent one is empty, names of articles lead to their runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mastery.catalogue.catalogue import Catalogue
from mastery.cli.terminal import Terminal
from mastery.errors import UnknownName
from mastery.lab.document import decode
from mastery.report.plain_text import printable
from mastery.report.sourced import Provenance, SourcedRun
from mastery.store.home import database
from mastery.store.records import RunRow
from mastery.store.store import LATEST, Store


@contextmanager
def opened() -> Iterator[Store | None]:
    """The store to read from; None where nothing was ever run, so that reading makes no files."""
    path = database()
    if not path.exists():
        yield None
        return
    with Store.open_to_read(path) as store:
        yield store


def note_closed(runs: Sequence[str], terminal: Terminal) -> None:
    """Says which killed runs were closed just now."""
    for run in runs:
        terminal.note(f"Closed as interrupted, judged from its finished trials: {printable(run)}")


def find_in(store: Store | None, name: str | None, catalogue: Catalogue) -> RunRow:
    """The run that a reader means: an id or its beginning, `latest`, an experiment, or an article by its headline experiment.

    Raises `UnknownName` with the command that makes a run.
    """
    wanted = name or LATEST
    if store is None or not store.runs(limit=1):
        raise UnknownName("run", wanted, [], remedy="Nothing was run yet. Begin with `mastery run fsync-cost --quick`.")
    article = catalogue.find_article(wanted)
    if article is not None and article.experiments:
        wanted = catalogue.experiment(wanted).id
    if any(listing.id == wanted for listing in catalogue.experiments()) and not store.runs(experiment=wanted, limit=1):
        raise UnknownName("run of", wanted, [], remedy=f"Make one: mastery run {wanted}")
    return store.find(wanted)


def reference_runs(catalogue: Catalogue) -> Iterator[SourcedRun]:
    """The runs of the reference machine that lie in the articles' folders, always labelled as such."""
    for article in catalogue.articles:
        for file in sorted((article.folder / "reference").glob("*.json")):
            yield SourcedRun(decode(file.read_bytes()), Provenance.REFERENCE)
