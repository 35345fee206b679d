"""The way of every benchmark: an experiment carried out by the public run path, in a home of its own, and read from its store."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mastery.catalogue.catalogue import load_catalogue
from mastery.lab.document import PredictionRecord, RunDocument, TrialRecord
from mastery.store.home import VARIABLE, database
from mastery.store.store import Store
from mastery.workbench import Request, carry_out, prepare

EXPERIMENTS = Path(__file__).parent / "experiments" / "empty_operation.py"


@contextmanager
def home_of_its_own() -> Iterator[None]:
    """Runs below see an empty home, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mastery-benchmark-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def run(request: Request) -> RunDocument:
    """The document of one run of an experiment of this folder; it waits until nobody else is measuring."""
    named = replace(request, experiment=f"{EXPERIMENTS}::{request.experiment}", wait=True)
    prepared = prepare(named, load_catalogue(third_parties=False))
    status = carry_out(prepared, PredictionRecord(kind="skipped"), lambda _: None)
    if status:
        raise SystemExit(f"The run ended with status {status}.")
    with Store.open_to_read(database()) as store:
        return store.run(prepared.run)


def good_trials(document: RunDocument, level: str) -> dict[int, TrialRecord]:
    """The trials of the arm with this level, by block; the cold one and the A/A twin are left out."""
    arms = {arm.index for arm in document.arms if level in arm.levels.values()}
    return {
        trial.block: trial
        for trial in document.trials
        if trial.arm in arms and trial.status == "ok" and not (trial.cold or trial.placebo)
    }


def conditions() -> str:
    """What a figure depends on, beside the code."""
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} cores, load average {load} at the start"
