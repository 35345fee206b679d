"""The composition root of measuring: finds the experiment and its components, runs it enclosed, stores it. Wires only."""

import re
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from mastery.catalogue.catalogue import Catalogue
from mastery.catalogue.loading import is_file_name, load_experiment
from mastery.components import janitor, processes
from mastery.components.component import Here, Missing, Site
from mastery.components.enclosure import available, enclose
from mastery.components.machine_lock import measure_alone
from mastery.components.run_folder import Chosen, is_owned, make_run_folder
from mastery.components.upward import errors_come_back
from mastery.components.watcher import guarded_folder
from mastery.errors import DomainError, MasteryError, NeedsExtra
from mastery.lab.advice import advise_on_machine, advise_on_noise
from mastery.lab.document import AdviceRecord, PredictionRecord, TrialRecord
from mastery.lab.event import AnyEvent
from mastery.lab.experiment import Experiment
from mastery.lab.histogram import Histogram
from mastery.lab.hosting import Host, find_components
from mastery.lab.interruption import interruption_of_trials
from mastery.lab.layout import Layout, lay_out, statements_of
from mastery.lab.machine import capture
from mastery.lab.noise import measure_noise
from mastery.lab.plan import Header, Task
from mastery.lab.planning import Mode
from mastery.lab.recovery import begun, close_killed
from mastery.lab.run import perform
from mastery.lab.visit import stays_of
from mastery.store.home import cache_folder, database
from mastery.store.keeper import Keeper
from mastery.store.store import Store

OnEvent = Callable[[AnyEvent], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, in their own words; names and levels are checked by `prepare`."""

    experiment: str
    mode: Mode = Mode.NORMAL
    budget_s: float | None = None
    seed: int | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    # What the user allows on a server of theirs by repeating a name: scratch, shared-server, i-own-this-server.
    allowed: Mapping[str, str] = field(default_factory=dict)
    on: Path | None = None
    arms: Mapping[str, list[str]] = field(default_factory=dict)
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start: what it will do, for how long, what it writes where, and what it will not touch."""

    request: Request
    experiment: Experiment
    layout: Layout
    run: str
    found: Mapping[str, Here | Missing]
    statements: tuple[str, ...]


def prepare(request: Request, catalogue: Catalogue) -> Prepared:
    """Resolves names, finds components, lays out the arms and checks the budget; starts and writes nothing lasting.

    Raises `UsageError` and its kinds for words that are off, `MachineCannot` when no arm can run here.
    """
    experiment = load_experiment(request.experiment, catalogue)
    runs_folder = cache_folder() / "runs"
    janitor.sweep(runs_folder)
    found = _look_around(experiment, request, runs_folder)
    for name, answer in found.items():
        if isinstance(answer, Missing) and answer.extra is not None:
            raise NeedsExtra(answer.extra, why=f"{experiment.id} ({name})")
    stays = stays_of(experiment, request.targets, request.allowed)
    layout = lay_out(experiment, found, mode=request.mode, budget_s=request.budget_s, levels=request.arms, stays=stays)
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    request = replace(request, seed=seed)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run = f"{re.sub(r'[^A-Za-z0-9-]', '-', experiment.id)[:16]}-{stamp}-{secrets.token_hex(2)}"
    where = (request.on or runs_folder).absolute()
    return Prepared(request, experiment, layout, run, found, statements_of(experiment, layout, found, where=where, stays=stays))


def _look_around(experiment: Experiment, request: Request, runs_folder: Path) -> dict[str, Here | Missing]:
    """Asks the components in a folder on the disk that is to be measured, gone when they have answered."""
    chosen = Chosen(request.choices, request.targets, request.allowed)
    with guarded_folder(runs_folder, f"looking-{secrets.token_hex(4)}", on=request.on, chosen=chosen) as folder:
        return find_components(experiment, folder.site)


def carry_out(prepared: Prepared, prediction: PredictionRecord, on_event: OnEvent) -> int:
    """Measures alone on this machine, enclosed; gives the exit status of the run process (130 when interrupted).

    `on_event` is called in the run process; its last event is `Judged`. Raises `Busy` when another run is measuring,
    and what the run process raised.
    """
    # Opened before anything is measured: a store that takes nothing is better known now.
    Store.open(database()).close()
    runs_folder = cache_folder() / "runs"
    request = prepared.request
    with measure_alone(prepared.run, wait=request.wait) as held:
        owner = processes.myself().encode()
        chosen = Chosen(request.choices, request.targets, request.allowed)
        with (
            make_run_folder(runs_folder, prepared.run, on=request.on, chosen=chosen) as folder,
            errors_come_back(lambda: _measure(prepared, prediction, folder.site, owner, on_event)) as measure,
        ):
            status = enclose(measure, run=folder, held=held)
    if status < 0:
        raise DomainError(
            f"The run was ended by {signal.Signals(-status).name}; the trials that it had finished are kept.",
            remedy="`mastery results` shows them, judged. If you did not end it yourself, look at the free memory.",
        )
    return status


def _measure(prepared: Prepared, prediction: PredictionRecord, site: Site, owner: str, on_event: OnEvent) -> int:
    """The run process: services up, header stored, trials appended one by one, the document closed."""
    machine, noise = capture(), measure_noise(time.perf_counter_ns, sleep=time.sleep)
    advice = [AdviceRecord(**msgspec.to_builtins(each)) for each in (*advise_on_machine(machine), *advise_on_noise(noise))]
    with Host(prepared.experiment, site, prepared.found) as host, Store.open(database()) as store:
        header = Header(
            run=prepared.run,
            article=prepared.experiment.article,
            started=_now(),
            package=version("backend-mastery"),
            target=next(iter(prepared.request.targets.values()), None),
            machine={**msgspec.to_builtins(machine), "enclosure": available().value},
            noise=msgspec.to_builtins(noise),
            components=host.records(),
            prediction=prediction,
            advice=(*host.advice(), *advice),
        )
        plan = prepared.layout.plan(prepared.experiment, header, seed=prepared.request.seed or 0)
        store.open_run(begun(plan, name=prepared.request.experiment), owner=owner)
        keeper = Keeper(store, prepared.run)
        began = time.monotonic()
        with interruption_of_trials() as interruption:

            def start_trial(task: Task) -> tuple[TrialRecord, Histogram | None]:
                keeper.raise_if_full()
                with interruption.allowed():
                    return keeper.hold(*host.run_trial(plan, task, clock=lambda: time.monotonic() - began))

            for event in perform(plan, start_trial, time.monotonic, finished=_now):
                keeper.keep(event)
                on_event(event)
    return 130 if keeper.stopped == "interrupted" else 0


def close_killed_runs(catalogue: Catalogue) -> tuple[str, ...]:
    """Closes, as interrupted, every run whose process is dead, judged from the trials that were stored; their ids."""
    closed: list[str] = []
    if not database().exists():
        return ()
    with Store.open(database()) as store:
        left = store.open_runs()
        here = capture().fingerprint if left else ""
        for run in left:
            # The folder's lock is seen from every container, where the pid of a living run means nothing.
            alive = processes.is_alive(processes.Identity.decode(run.owner)) or is_owned(cache_folder() / "runs" / run.id)
            # A home on a network may be in use on another machine; a run of this machine's earlier boot is dead.
            if alive or run.header.get("machine", {}).get("fingerprint") != here:
                continue
            evidence = list(zip(run.trials, run.histograms, strict=True))
            experiment = _reload(run.header, catalogue)
            try:
                document = close_killed(run.header, evidence, experiment, finished=_now())
            except (ValueError, ArithmeticError, LookupError, msgspec.ValidationError):
                # One run that cannot be judged must not keep every later one from starting: it is closed without its
                # trials' judgement, from its header alone; the rows of its trials stay in the store.
                document = close_killed(run.header, [], None, finished=_now())
            store.close_run(document)
            closed.append(run.id)
    return tuple(closed)


def _reload(header: Mapping[str, object], catalogue: Catalogue) -> Experiment | None:
    name = str(header.get("name", ""))
    try:
        # A file of a stranger is executed when its owner runs it, not when we clean up.
        return None if is_file_name(name) else load_experiment(name, catalogue)
    except MasteryError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
