"""The reader's own store, as the commands open it: an absent one is empty, names of articles lead to their runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from mastery.catalogue.catalogue import Catalogue
from mastery.errors import UnknownName
from mastery.lab.document import RunDocument, decode
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


def find_run(name: str | None, catalogue: Catalogue) -> RunRow:
    """The run that a reader means: an id or its beginning, `latest`, an experiment, or an article by its headline experiment."""
    with opened() as store:
        return find_in(store, name, catalogue)


def load_run(name: str | None, catalogue: Catalogue) -> RunDocument:
    """The document of that run."""
    with opened() as store:
        row = find_in(store, name, catalogue)
        assert store is not None, "a store in which a run was found"
        return store.run(row.id)


def find_in(store: Store | None, name: str | None, catalogue: Catalogue) -> RunRow:
    """The same in a store that is open already; raises `UnknownName` with the command that makes a run."""
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
