"""The composition root: from the words of a request to a stored document, with a user's own file and a home of its own."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from mastery import workbench
from mastery.catalogue.catalogue import Catalogue, load_catalogue
from mastery.catalogue.loading import load_experiment
from mastery.components import processes
from mastery.components.machine_lock import measure_alone
from mastery.components.processes import Identity
from mastery.errors import BrokenExperiment, MachineCannot, NeedsExtra, UnknownName, UsageError
from mastery.lab.document import PredictionRecord, RunDocument, TrialRecord
from mastery.lab.event import AnyEvent, BlocksFixed, Judged, Planned, TrialFinished, as_line, from_line
from mastery.lab.machine import capture
from mastery.lab.plan import Header, Plan
from mastery.lab.planning import Mode
from mastery.lab.recovery import begun
from mastery.store.home import VARIABLE, database
from mastery.store.store import Store
from mastery.workbench import Prepared, Request, carry_out, close_killed_runs, prepare

SKIPPED = PredictionRecord(kind="skipped")
HEAD = """
import ctypes, faulthandler, os, signal
from mastery.components.component import Here, Missing, Scope
from mastery.lab import Claim, Closed, Factor, Metric, Once, experiment, worst

FACTORS = [Factor("n", [1, 2], baseline=1, quick=[1, 2])]
COUNTED = dict(
    factors=FACTORS,
    metrics=[Metric("counted", "times", role="guardrail", primary=True)],
    claims=[Claim("counts", worst("counted", at={"n": 2}) >= 2)],
    exact=True,
)
"""
EXACT = """
@experiment(id="exact", question="Does it count?", **COUNTED)
def exact(arm):
    result = yield Once(lambda: arm.n)
    result.record(counted=result.value)
"""
TIMED = """
@experiment(id="timed", question="Is it timed?", factors=FACTORS, metrics=[Metric("p50", "s")], load=Closed(operations=200))
def timed(arm):
    yield lambda i: sum(range(1000 * arm.n))
"""
FAULTY = """
@experiment(id="faulty", question="Does it fall?", **COUNTED)
def faulty(arm):
    def fall():
        faulthandler.disable()
        ctypes.string_at(0)
    result = yield Once(fall if arm.n == 2 else lambda: 1)
    result.record(counted=result.value)
"""
INTERRUPTED = """
@experiment(id="interrupted", question="Is it kept?", **COUNTED)
def interrupted(arm):
    result = yield Once(lambda: os.kill(os.getppid(), signal.SIGINT) or 1)
    result.record(counted=result.value)
"""
MISSING = """
class Gone:
    name = "gone"
    scope = Scope.RUN

    def __init__(self, extra):
        self.extra = extra

    def find(self, site):
        return Missing("There is none here.", "Get one.", self.extra)

    def start(self, site, settings):
        raise AssertionError("what was not found is not started")

@experiment(id="missing", question="Is it here?", resources={"gone": Gone(None)}, **COUNTED)
def missing(arm, gone):
    yield Once(lambda: 1)

@experiment(id="extra", question="Is it here?", resources={"gone": Gone("postgres")}, **COUNTED)
def extra(arm, gone):
    yield Once(lambda: 1)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of every run of this module, and a machine's lock of its own: tests do not wait for somebody's measuring."""
    folder = tmp_path / "home"
    monkeypatch.setattr(workbench, "measure_alone", partial(measure_alone, name=f"mastery-test-{os.getpid()}"))
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(third_parties=False)


@pytest.fixture
def prepared(tmp_path: Path, catalogue: Catalogue) -> Callable[..., Prepared]:
    """Prepares an experiment of a file of the user's own; it waits for whoever is measuring on this machine."""
    file = tmp_path / "mine.py"
    file.write_text(HEAD + EXACT + TIMED + FAULTY + INTERRUPTED + MISSING)

    def prepare_one(name: str, **more: object) -> Prepared:
        return prepare(Request(f"{file}::{name}", wait=True, **more), catalogue)  # type: ignore[arg-type]

    return prepare_one


def carried_out(prepared: Prepared, folder: Path) -> tuple[int, list[AnyEvent], RunDocument]:
    """The exit status, the events (they come in the run process, so they cross by a file), and the stored document."""
    path = folder / "events"

    def on_event(event: AnyEvent) -> None:
        with path.open("ab") as file:
            file.write(as_line(event))

    status = carry_out(prepared, SKIPPED, on_event)
    events = [from_line(line) for line in path.read_bytes().splitlines()]
    with Store.open_to_read(database()) as store:
        return status, events, store.run(prepared.run)


def left_in(home: Path) -> list[str]:
    runs = home / "cache" / "runs"
    return [each.name for each in runs.iterdir() if not each.name.startswith(".")] if runs.exists() else []


def test_preparing_says_what_will_be_done_and_leaves_nothing_behind(prepared: Callable[..., Prepared], home: Path) -> None:
    found = prepared("exact", seed=7)
    assert [arm.n for arm in found.layout.arms] == [1, 2]
    assert found.request.seed == 7
    assert any("2 arms" in sentence for sentence in found.statements)
    assert any(str(home) in sentence for sentence in found.statements)
    assert left_in(home) == []
    assert not database().exists()


def test_without_a_seed_one_is_drawn_and_every_run_has_a_name_of_its_own(prepared: Callable[..., Prepared]) -> None:
    one, two = prepared("exact"), prepared("exact")
    assert one.request.seed is not None and one.request.seed != two.request.seed
    assert one.run != two.run
    assert one.run.startswith("exact-")


def test_words_that_are_off_are_refused_before_anything_starts(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'exct'"):
        prepared("exct")
    with pytest.raises(UnknownName, match="level of n 'x'"):
        prepared("exact", arms={"n": ["x"]})
    with pytest.raises(UsageError, match="budget is too small"):
        prepared("timed", budget_s=0.01)
    (tmp_path / "mine.py").write_text("def broken(:")
    with pytest.raises(BrokenExperiment, match="line 1"):
        prepared("exact")


def test_what_this_machine_lacks_is_named_with_its_remedy(prepared: Callable[..., Prepared]) -> None:
    with pytest.raises(MachineCannot, match="There is none here") as caught:
        prepared("missing")
    assert caught.value.remedy == "Get one."
    with pytest.raises(NeedsExtra) as needed:
        prepared("extra")
    assert needed.value.extra == "postgres"


def test_a_users_own_file_is_run_judged_and_stored(prepared: Callable[..., Prepared], home: Path, tmp_path: Path) -> None:
    status, events, document = carried_out(prepared("exact", seed=3), tmp_path)
    assert status == 0
    assert isinstance(events[0], Planned) and isinstance(events[-1], Judged)
    assert [trial.metrics for trial in sorted(document.trials, key=lambda trial: trial.arm)] == [{"counted": 1.0}, {"counted": 2.0}]
    assert [(claim.id, claim.standing) for claim in document.claims] == [("counts", "holds")]
    assert events[-1].document == document
    assert (document.seed, document.article, document.stopped) == (3, "", "planned")
    assert document.machine["enclosure"]
    assert left_in(home) == []


def test_a_timed_run_fixes_its_blocks_once_and_pairs_its_arms(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    _, events, document = carried_out(prepared("timed", mode=Mode.QUICK, budget_s=3.0, seed=5), tmp_path)
    assert sum(isinstance(event, BlocksFixed) for event in events) == 1
    assert sum(isinstance(event, TrialFinished) for event in events) == len(document.trials)
    assert document.rule.blocks >= 6
    effect = document.effect(1, "p50")
    assert effect is not None and effect.ratio > 1
    assert all(trial.load["operations"] == 200 for trial in document.trials if trial.status == "ok")


@pytest.mark.slow
def test_the_same_seed_runs_the_trials_in_the_same_order(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    _, _, document = carried_out(prepared("timed", mode=Mode.QUICK, budget_s=3.0, seed=5), tmp_path)
    _, _, again = carried_out(prepared("timed", mode=Mode.QUICK, budget_s=3.0, seed=5), tmp_path)
    shared = min(len(document.trials), len(again.trials))
    orders = [[(trial.arm, trial.placebo) for trial in each.trials[:shared]] for each in (document, again)]
    assert orders[0] == orders[1]


def test_a_trial_that_falls_is_void_with_its_cause_and_the_run_ends_well(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    status, _, document = carried_out(prepared("faulty", seed=3), tmp_path)
    assert status == 0
    causes = {trial.cause for trial in document.trials if trial.arm == 1}
    assert causes == {"killed by SIGSEGV: Segmentation fault"}
    assert all(trial.status == "ok" for trial in document.trials if trial.arm == 0)
    assert document.claims[0].standing == "not_run"


def test_an_interrupt_of_the_run_process_keeps_and_judges_what_is_finished(
    prepared: Callable[..., Prepared], home: Path, tmp_path: Path
) -> None:
    status, events, document = carried_out(prepared("interrupted", seed=3), tmp_path)
    assert status == 130
    assert document.stopped == "interrupted"
    assert isinstance(events[-1], Judged)
    assert left_in(home) == []


def abandoned(prepared: Prepared, *, owner: str, machine: dict[str, object] | None = None) -> list[TrialRecord]:
    """Leaves an open run in the store, as a killed process does."""
    facts = msgspec.to_builtins(capture()) if machine is None else machine
    header = Header(run=prepared.run, article="", started="2026-01-01T00:00:00Z", package="0", machine=facts)
    plan = Plan(prepared.experiment, header, Mode.NORMAL, 7, 0.1, 60.0, prepared.layout.arms)
    trials = [TrialRecord(block=0, arm=arm, status="ok", metrics={"counted": arm + 1.0}) for arm in (0, 1)]
    with Store.open(database()) as store:
        store.open_run(begun(plan, name=prepared.request.experiment), owner=owner)
        for trial in trials:
            store.append_trial(prepared.run, trial)
    return trials


def dead() -> str:
    """The identity of a process that has ended."""
    waits, ends = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Lives until it has been identified: one that has ended has no identity any more.
        os.close(ends)
        os.read(waits, 1)
        os._exit(0)
    identity = processes.identify(pid)
    os.close(ends)
    os.close(waits)
    assert identity is not None
    os.waitpid(pid, 0)
    return identity.encode()


def test_a_run_whose_process_is_dead_is_closed_from_its_stored_trials(
    prepared: Callable[..., Prepared], catalogue: Catalogue
) -> None:
    killed = prepared("exact")
    trials = abandoned(killed, owner=dead())
    assert close_killed_runs(catalogue) == (killed.run,)
    with Store.open_to_read(database()) as store:
        document = store.run(killed.run)
    assert (document.stopped, document.trials, document.rule.blocks) == ("interrupted", trials, 1)
    guardrail = document.guardrail(1, "counted")
    assert guardrail is not None and guardrail.maximum == 2.0
    # A file of the user's is not executed when we clear up: its claims are judged when it is run again.
    assert document.claims == []
    assert close_killed_runs(catalogue) == ()


def test_a_living_run_and_one_of_another_machine_are_left_alone(prepared: Callable[..., Prepared], catalogue: Catalogue) -> None:
    abandoned(prepared("exact"), owner=processes.myself().encode())
    elsewhere = json.loads(json.dumps(msgspec.to_builtins(capture()) | {"fingerprint": "another machine"}))
    abandoned(prepared("exact"), owner=dead(), machine=elsewhere)
    assert close_killed_runs(catalogue) == ()
    with Store.open_to_read(database()) as store:
        assert len(store.open_runs()) == 2


def test_an_identity_survives_its_words_and_ours_is_alive() -> None:
    assert Identity.decode(processes.myself().encode()) == processes.myself()
    assert processes.is_alive(processes.myself())
    assert not processes.is_alive(Identity.decode(dead()))


def test_an_experiment_of_ours_is_prepared_by_its_id_and_by_its_article(catalogue: Catalogue) -> None:
    found = prepare(Request("crash-loss", mode=Mode.QUICK, arms={"sync": ["every"], "crash": ["process_kill"]}), catalogue)
    assert found.experiment is load_experiment("crash-loss", catalogue)
    assert len(found.layout.arms) == 1
