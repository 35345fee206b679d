"""Puts what a run tells into the store, trial by trial, and loses nothing when the store takes no more."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mastery.errors import StoreError
from mastery.lab.document import RunDocument, TrialRecord, sealed
from mastery.lab.event import AnyEvent, Judged, TrialFinished
from mastery.lab.histogram import Histogram
from mastery.store.store import Store
from mastery.store.transfer import spill


@dataclass(slots=True)
class Keeper:
    """Puts what a run tells into the store. A store that takes no more ends the run as Ctrl-C would, and loses nothing."""

    store: Store
    run: str
    stopped: str = "planned"
    refusal: StoreError | None = None
    _latencies: tuple[TrialRecord, Histogram | None] | None = None

    def hold(self, trial: TrialRecord, histogram: Histogram | None) -> tuple[TrialRecord, Histogram | None]:
        """Takes the latencies of a trial, until it is told of: events are read by people and programs, who need no histograms."""
        self._latencies = (trial, histogram)
        return self._latencies

    def raise_if_full(self) -> None:
        if self.refusal is not None:
            raise KeyboardInterrupt

    def keep(self, event: AnyEvent) -> None:
        if isinstance(event, TrialFinished) and self.refusal is None:
            try:
                held, histogram = self._latencies or (None, None)
                self.store.append_trial(self.run, event.trial, histogram if held is event.trial else None)
            except StoreError as refusal:
                self.refusal = refusal
        if isinstance(event, Judged):
            self.stopped = event.document.stopped
            _close(self.store, event.document)


def _close(store: Store, document: RunDocument) -> None:
    """Stores the document; where that fails nothing is lost: it is written elsewhere, and the error says where."""
    try:
        store.close_run(document)
    except StoreError as refused:
        # Under an id of its own: the store holds the run's first trials, and the next command closes them as this run.
        kept = sealed(msgspec.structs.replace(document, id=f"{document.id}-whole"))
        path = spill(kept, [Path.cwd(), Path(tempfile.gettempdir())])
        raise StoreError(
            f"{refused.message} The run is kept in {path}.", remedy=f"{refused.remedy} Then: mastery import {path}"
        ) from refused
