"""Services of a run and the data of its trials: who starts them, who ends them, and what a dead one costs."""

import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mastery.components.component import Here, Missing, Scope, Site
from mastery.errors import DomainError
from mastery.lab import hosting
from mastery.lab.design import Slot
from mastery.lab.document import TrialRecord
from mastery.lab.experiment import Arm, Experiment, Factor, Metric
from mastery.lab.fault import Fault, FaultKind
from mastery.lab.hosting import Host, find_components
from mastery.lab.layout import lay_out
from mastery.lab.load import Closed
from mastery.lab.operation import Result
from mastery.lab.plan import Header, Plan, Task
from mastery.lab.planning import Mode
from mastery.lab.reference import Reference
from mastery.lab.worker import in_worker


@dataclass(slots=True)
class FakeService:
    """A server that writes down what is done with it; `alive` is taken away from outside."""

    diary: list[str]
    name: str
    alive: bool = True
    errors: type[Exception] = DomainError
    handed_out: int = 0
    stopped: int = 0

    @contextmanager
    def fresh(self, name: str) -> Iterator[str]:
        self._answer()
        self.handed_out += 1
        self.diary.append(f"{self.name}: data {name}")
        yield f"{self.name}/{name}"
        self._answer()
        self.diary.append(f"{self.name}: no data {name}")

    def configuration(self) -> Mapping[str, str]:
        return {"cache": "1 MiB"}

    def counters(self) -> Mapping[str, float]:
        self._answer()
        return {"checkpoints": 3.0 * self.handed_out, "vacuums": 1.0}

    def pause(self) -> None:
        self.diary.append(f"{self.name}: paused")

    def resume(self) -> None:
        self.diary.append(f"{self.name}: resumed")

    def stop(self) -> None:
        self.stopped += 1
        self.diary.append(f"{self.name}: stopped")

    def _answer(self) -> None:
        if self.alive:
            return
        if self.errors is DomainError:
            raise DomainError(f"{self.name} does not answer.", remedy="Start it.")
        raise self.errors(f"{self.name} does not answer")


@dataclass(slots=True)
class FakeComponent:
    """The declaration of such a server."""

    diary: list[str]
    name: str = "server"
    scope: Scope = Scope.RUN
    answer: Here | Missing = field(default_factory=lambda: Here("embedded", "9.1"))
    started: list[FakeService] = field(default_factory=list)
    settings: list[Mapping[str, str]] = field(default_factory=list)
    errors: type[Exception] = DomainError
    fails_to_start: bool = False

    def find(self, site: Site) -> Here | Missing:
        return self.answer

    def start(self, site: Site, settings: Mapping[str, str]) -> FakeService:
        if self.fails_to_start:
            raise DomainError(f"{self.name} does not start.", remedy="Look at its log.")
        self.diary.append(f"{self.name}: started")
        self.settings.append(settings)
        self.started.append(FakeService(self.diary, self.name, errors=self.errors))
        return self.started[-1]


def declared(trial: Callable[..., Any], resources: Mapping[str, Any], **more: Any) -> Experiment:
    return Experiment(
        id="fake",
        question="Does it?",
        factors=(Factor("level", ["low", "high"], "low"),),
        metrics=(Metric("seen", "times"),),
        load=Closed(operations=5),
        trial=trial,
        resources=resources,
        **more,
    )


def looking(arm: Arm, **addresses: Any) -> Generator[Any, Result, None]:
    """Notes what addresses it got."""
    result = yield lambda _: None
    result.record(seen=1)
    result.note(addresses=addresses, level=arm.level)


class Stage:
    """A host with its plan, and one trial after the other."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment = experiment
        self.site = Site("r1", folder, folder)
        self.found = find_components(experiment, self.site)
        layout = lay_out(experiment, self.found, mode=Mode.QUICK)
        header = Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0")
        references = layout.references
        self.plan = Plan(experiment, header, Mode.QUICK, 7, 0.05, 20.0, layout.arms, layout.skipped, references)
        self.host = Host(experiment, self.site, self.found)

    def run(self, arm: int = 0, *, reference: str | None = None) -> TrialRecord:
        load = self.experiment.load_of(self.plan.arms[arm])
        task = Task(Slot(self.plan.arms[arm].index, reference=reference), 0, seed=1, seconds=0.05, load=load)
        record, _ = self.host.run_trial(self.plan, task, clock=lambda: 0.0)
        return record


def test_a_service_of_the_run_is_started_once_and_its_data_are_made_anew_for_each_trial(tmp_path: Path) -> None:
    diary: list[str] = []
    stage = Stage(declared(looking, {"server": FakeComponent(diary)}), tmp_path)
    with stage.host:
        records = [stage.run(), stage.run(1)]
    assert [record.notes["addresses"] for record in records] == [{"server": "server/t1"}, {"server": "server/t2"}]
    assert [record.notes["level"] for record in records] == ["low", "high"]
    assert diary == [
        "server: started",
        "server: data t1",
        "server: no data t1",
        "server: data t2",
        "server: no data t2",
        "server: stopped",
    ]


def test_a_service_of_the_arm_is_started_for_each_trial_with_that_arms_settings(tmp_path: Path) -> None:
    server = FakeComponent([], scope=Scope.ARM)
    settings = {"settings": lambda arm: {"server": {"sync": arm.level}}}
    stage = Stage(declared(looking, {"server": server}, **settings), tmp_path)
    with stage.host:
        assert server.started == []
        assert [stage.run().status, stage.run(1).status] == ["ok", "ok"]
    assert server.settings == [{"sync": "low"}, {"sync": "high"}]
    assert [each.stopped for each in server.started] == [1, 1]


def test_what_the_service_did_by_itself_is_counted_per_trial(tmp_path: Path) -> None:
    stage = Stage(declared(looking, {"server": FakeComponent([])}), tmp_path)
    with stage.host:
        # Counted from when the data stand: what their making cost is no part of the trial.
        assert stage.run().counters == {}
    diary: list[str] = []
    server = FakeComponent(diary)

    def trial(arm: Arm, server: str) -> Generator[Any, Result, None]:
        yield lambda _: None

    stage = Stage(declared(trial, {"server": server}), tmp_path)
    with stage.host:
        reading = iter([{"checkpoints": 2.0, "vacuums": 1.0}, {"checkpoints": 5.0, "vacuums": 1.0}])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeService, "counters", lambda self: next(reading))
            assert stage.run().counters == {"server.checkpoints": 3.0}


def test_stopping_ends_the_last_service_first_and_may_be_done_twice(tmp_path: Path) -> None:
    diary: list[str] = []
    resources = {"a": FakeComponent(diary, "a"), "b": FakeComponent(diary, "b")}
    stage = Stage(declared(looking, resources), tmp_path)
    with stage.host:
        stage.host.stop()
        stage.host.stop()
    assert diary == ["a: started", "b: started", "b: stopped", "a: stopped"]


def test_a_service_that_does_not_start_ends_those_that_did(tmp_path: Path) -> None:
    diary: list[str] = []
    resources = {"a": FakeComponent(diary, "a"), "b": FakeComponent(diary, "b", fails_to_start=True)}
    stage = Stage(declared(looking, resources), tmp_path)
    with pytest.raises(DomainError, match="b does not start"), stage.host:
        raise AssertionError("the host must not be entered")
    assert diary == ["a: started", "a: stopped"]


def test_a_missing_resource_skips_the_arms_that_need_it_with_reason_and_remedy(tmp_path: Path) -> None:
    diary: list[str] = []
    gone = FakeComponent(diary, "gone", answer=Missing("There is none here.", "Install it."))
    resources = {"server": FakeComponent(diary), "gone": gone}
    needs = {"needs": lambda arm: ["server", "gone"] if arm.level == "high" else ["server"]}
    stage = Stage(declared(looking, resources, **needs), tmp_path)
    (skipped,) = stage.plan.skipped
    assert (skipped.label, skipped.skipped, skipped.remedy) == ("level=high", "There is none here.", "Install it.")
    with stage.host:
        # The trial function is called with every name; what its arm does without is None.
        assert stage.run().notes["addresses"] == {"server": "server/t1", "gone": None}
        ours, theirs = stage.host.records()
    assert (ours.how, ours.version, ours.configuration) == ("embedded", "9.1", {"cache": "1 MiB"})
    assert theirs.how == "missing: There is none here."
    assert gone.started == []


# Servers speak in their drivers' words: what they raise need not be an error of ours.
@pytest.mark.parametrize("errors", [DomainError, ConnectionError])
def test_a_service_that_was_killed_between_trials_voids_one_and_is_started_again(tmp_path: Path, errors: type[Exception]) -> None:
    diary: list[str] = []
    server = FakeComponent(diary, errors=errors)
    stage = Stage(declared(looking, {"server": server}), tmp_path)
    with stage.host:
        assert stage.run().status == "ok"
        server.started[0].alive = False
        void = stage.run()
        again = stage.run()
    assert void.status == "void"
    assert void.cause is not None and "could not be set up" in void.cause and "does not answer" in void.cause
    assert (again.status, again.notes["addresses"]) == ("ok", {"server": "server/t3"})
    assert [each.stopped for each in server.started] == [1, 1]


@pytest.mark.parametrize("errors", [DomainError, ConnectionError])
def test_a_service_that_dies_in_a_trial_is_started_again_and_the_run_goes_on(
    tmp_path: Path, errors: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeComponent([], errors=errors)

    def trial(arm: Arm, server: str) -> Generator[Any, Result, None]:
        if server.endswith("t1"):
            raise ConnectionResetError("the server went away")
        yield lambda _: None

    def dies_meanwhile(*arguments: Any, **more: Any) -> Any:
        server.started[-1].alive = len(server.started) > 1
        return in_worker(*arguments, **more)

    monkeypatch.setattr(hosting, "in_worker", dies_meanwhile)
    stage = Stage(declared(trial, {"server": server}), tmp_path)
    with stage.host:
        void, again = stage.run(), stage.run()
    # The trial's own words are the cause, not that its data could not be taken back afterwards.
    assert void.cause is not None and "the server went away" in void.cause
    assert again.status == "ok"
    assert len(server.started) == 2


def test_a_service_that_cannot_be_started_again_voids_every_trial_and_raises_nothing(tmp_path: Path) -> None:
    server = FakeComponent([])
    stage = Stage(declared(looking, {"server": server}), tmp_path)
    with stage.host:
        server.started[0].alive, server.fails_to_start = False, True
        causes = [stage.run().cause for _ in range(3)]
    assert all(cause is not None and "does not" in cause for cause in causes)


def test_a_trial_that_raises_is_a_record_and_its_data_are_removed(tmp_path: Path) -> None:
    diary: list[str] = []

    def trial(arm: Arm, server: str) -> Generator[Any, Result, None]:
        yield lambda _: 1 / 0

    stage = Stage(declared(trial, {"server": FakeComponent(diary)}), tmp_path)
    with stage.host:
        record = stage.run()
    assert (record.status, record.metrics) == ("void", {})
    assert record.cause is not None and record.cause.startswith("raised ZeroDivisionError: division by zero (test_hosting.py:")
    assert diary[-2:] == ["server: no data t1", "server: stopped"]


def test_a_trial_that_hangs_is_void_after_the_experiments_own_patience(tmp_path: Path) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        while True:
            signal.pause()
        yield

    stage = Stage(declared(trial, {}, timeout_s=0.2, overhead_s=0.01), tmp_path)
    with stage.host:
        cause = stage.run().cause
    # Five times its load and ten times its set-up are always granted.
    assert cause == "time-out: the trial did not end within 0.35 s"


def test_a_metric_that_nobody_declared_voids_the_trial(tmp_path: Path) -> None:
    def trial(arm: Arm) -> Generator[Any, Result, None]:
        result = yield lambda _: None
        result.record(misspelt=1)

    stage = Stage(declared(trial, {}), tmp_path)
    with stage.host:
        cause = stage.run().cause
    assert cause is not None and "misspelt" in cause


def test_what_struck_a_trial_stands_in_its_record(tmp_path: Path) -> None:
    fault = Fault("server", FaultKind.PAUSE, after_s=(0.001, 0.002), for_s=0.001)
    stage = Stage(declared(looking, {"server": FakeComponent([])}, faults=lambda arm: [fault] * (arm.level == "high")), tmp_path)
    with stage.host:
        spared, struck = stage.run(0), stage.run(1)
    assert "faults" not in spared.notes
    (paused, resumed) = struck.notes["faults"]
    assert (paused[1:], resumed[1:]) == (["server", "pause"], ["server", "resume"])
    assert 0.001 <= paused[0] < resumed[0] <= 0.003


@dataclass(frozen=True, slots=True)
class FakeTool:
    """An independent tool that says which arm, data and time it was given."""

    name: str = "tool"

    def find(self) -> Here | Missing:
        return Here("os")

    def serves(self, levels: Any) -> bool:
        return True

    def measure(self, levels: Mapping[str, Any], addresses: Mapping[str, Any], *, seconds: float) -> float:
        assert (dict(levels), dict(addresses), seconds) == ({"level": "low"}, {"server": "server/t1"}, 0.05)
        return 42.0


def test_a_reference_measures_the_same_arm_on_fresh_data_of_its_own(tmp_path: Path) -> None:
    references = (Reference("tool-agrees", FakeTool(), metric="seen"),)
    stage = Stage(declared(looking, {"server": FakeComponent([])}, references=references), tmp_path)
    with stage.host:
        record = stage.run(reference="tool-agrees")
    assert (record.status, record.reference, record.metrics) == ("ok", "tool-agrees", {"seen": 42.0})
