"""A stay on a server of the user's: what is refused before it starts, what is said, and when it ends by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from test_hosting import FakeComponent, FakeService, Stage, declared, looking
from test_layout import Tool
from test_run_loop import document_in

from mastery.components.component import Here, Site
from mastery.components.targets import GUEST, OWNER, Leftover, Metered, Searched, Visit
from mastery.errors import TargetRefused, UsageError
from mastery.lab.experiment import Experiment
from mastery.lab.interruption import RunEnded
from mastery.lab.layout import lay_out, statements_of
from mastery.lab.load import Closed, Load, Open
from mastery.lab.planning import Mode
from mastery.lab.reference import Reference
from mastery.lab.run import perform
from mastery.lab.visit import Stay, budget_within, stays_of

MINE = Stay("server", "mine", is_owned=True)
THEIRS = Stay("server", "theirs", is_owned=False)
FOUND = {"server": Here("target", "18")}


def driving(load: Load, **more: Any) -> Experiment:
    return replace(declared(looking, {"server": FakeComponent([])}, **more), load=load)


def test_only_servers_that_the_experiment_uses_are_visited() -> None:
    experiment = driving(Open(rate=10))
    targets = {"server": "theirs", "other": "elsewhere"}
    assert stays_of(experiment, targets, {}) == (THEIRS,)
    assert stays_of(experiment, targets, {"i-own-this-server": "theirs"}) == (Stay("server", "theirs", is_owned=True),)
    # A name that is repeated for another server allows nothing on this one.
    assert stays_of(experiment, targets, {"i-own-this-server": "elsewhere"}) == (THEIRS,)
    assert stays_of(experiment, {}, {}) == ()


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Closed(), "closed loop"),
        (Open(rate=201), "201 op/s"),
        (Open(rate=10, threads=5), "5 connections"),
        (Open(rate=10, processes=5), "5 connections"),
        (Open(of_capacity=0.5), "pushing it to its limit"),
    ],
)
def test_a_load_beyond_the_allowance_is_refused_on_a_server_of_others_and_driven_on_ones_own(load: Load, says: str) -> None:
    experiment = driving(load)
    with pytest.raises(TargetRefused, match=says) as refused:
        lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(THEIRS,))
    assert "'theirs'" in refused.value.message and "--i-own-this-server theirs" in refused.value.remedy
    assert lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(MINE,)).arms


def test_the_one_arm_that_pushes_too_hard_is_named() -> None:
    experiment = driving(Closed())
    object.__setattr__(experiment, "load", lambda arm: Open(rate=500 if arm.level == "high" else 100))
    with pytest.raises(TargetRefused, match="500 op/s at level=high"):
        lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(THEIRS,))
    assert len(lay_out(experiment, FOUND, mode=Mode.QUICK, levels={"level": ["low"]}, stays=(THEIRS,)).arms) == 1


def test_what_keeps_to_the_allowance_or_only_counts_is_driven() -> None:
    assert lay_out(driving(Open(rate=200, threads=4)), FOUND, mode=Mode.QUICK, stays=(THEIRS,)).arms
    assert lay_out(driving(Closed(), exact=True), FOUND, mode=Mode.QUICK, stays=(THEIRS,)).arms


def test_a_guest_stays_a_minute_and_an_owner_as_long_as_they_like() -> None:
    assert (budget_within((THEIRS,)), budget_within((THEIRS, MINE)), budget_within((MINE,))) == (60.0, 60.0, 3600.0)
    experiment = driving(Open(rate=10))
    assert lay_out(experiment, FOUND, mode=Mode.NORMAL, stays=(THEIRS,)).budget_s == 60.0
    assert lay_out(experiment, FOUND, mode=Mode.NORMAL, budget_s=300.0, stays=(MINE,)).budget_s == 300.0
    with pytest.raises(UsageError, match="too small") as refused:
        lay_out(driving(Open(rate=10), overhead_s=10.0), FOUND, mode=Mode.NORMAL, stays=(THEIRS,))
    assert "--budget" not in refused.value.remedy


def test_a_tool_that_pushes_as_hard_as_it_can_stays_away_from_a_server_of_others() -> None:
    experiment = driving(Open(rate=10), references=(Reference("r", Tool(Here("os")), metric="seen"),))
    guest = lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(THEIRS,))
    assert guest.references == () and "'theirs' is not yours" in guest.absent[0][1]
    assert len(lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(MINE,)).references) == 1


@pytest.mark.parametrize(("stay", "words"), [(THEIRS, "at most 4 connections, 200 op/s, 256 MiB"), (MINE, "You own 'mine'")])
def test_before_the_start_the_server_its_limits_and_the_scratch_place_are_named(stay: Stay, words: str) -> None:
    experiment = driving(Open(rate=10))
    layout = lay_out(experiment, FOUND, mode=Mode.QUICK, stays=(stay,))
    says = " ".join(statements_of(experiment, layout, FOUND, where=Path("/somewhere"), stays=(stay,)))
    assert words in says
    assert f"your server {stay.target!r} in one scratch place" in says and "dropped at the end" in says
    assert "no server that it did not start" not in says and "no other server" in says
    assert str(stay.allowance.lock_timeout_ms) in says


@dataclass(slots=True)
class FakeVisit(FakeService):
    """A stay whose server has had enough after so many trials."""

    most: int = 3
    left: tuple[Leftover, ...] = ()

    @property
    def how_to_drop(self) -> str:
        return "drop database mastery_0"

    def leftovers(self) -> tuple[Leftover, ...]:
        return self.left

    def exceeded(self) -> str | None:
        self._answer()
        return f"{self.handed_out} trials are enough." if self.handed_out >= self.most else None


@dataclass(slots=True)
class VisitComponent(FakeComponent):
    visits: list[FakeVisit] = field(default_factory=list)

    def start(self, site: Site, settings: Mapping[str, str]) -> FakeVisit:
        visit = FakeVisit(self.diary, self.name, left=(Leftover("mastery_1", "drop database mastery_1"),))
        self.visits.append(visit)
        return visit


def test_a_stay_says_how_it_is_dropped_and_what_earlier_ones_left(tmp_path: Path) -> None:
    stage = Stage(declared(looking, {"server": VisitComponent([])}), tmp_path)
    with stage.host:
        target, leftover = stage.host.advice()
    assert (target.code, target.remedy) == ("target", "Should it be killed: drop database mastery_0")
    assert (leftover.code, leftover.remedy) == ("leftover", "drop database mastery_1")
    own = Stage(declared(looking, {"server": FakeComponent([])}), tmp_path)
    with own.host:
        assert own.host.advice() == ()


def test_a_service_of_ours_is_no_visit() -> None:
    ours, theirs = FakeService([], "server"), FakeVisit([], "server")
    assert [isinstance(theirs, each) for each in (Visit, Searched, Metered)] == [True, True, True]
    assert [isinstance(ours, each) for each in (Visit, Searched, Metered)] == [False, False, False]
    assert GUEST.wal_bytes < OWNER.wal_bytes


def test_a_run_that_used_up_its_allowance_ends_and_what_is_finished_is_judged(tmp_path: Path) -> None:
    stage = Stage(declared(looking, {"server": VisitComponent([])}), tmp_path)
    with stage.host:
        events = perform(
            stage.plan,
            lambda task: stage.host.run_trial(stage.plan, task, clock=lambda: 0.0),
            lambda: 0.0,
            finished=lambda: "2026-01-01T00:01:00Z",
        )
        document = document_in(list(events))
    assert document.stopped == "interrupted" and len(document.trials) == 3
    (advice,) = [each for each in document.advice if each.code == "target-limit"]
    assert advice.text == "3 trials are enough." and advice.remedy
    assert [each["event"] for each in document.events] == ["interrupted"]


def test_a_server_that_does_not_answer_the_count_voids_its_trial_and_ends_nothing(tmp_path: Path) -> None:
    component = VisitComponent([])
    stage = Stage(declared(looking, {"server": component}), tmp_path)
    with stage.host:
        component.visits[-1].alive = False
        assert stage.run().status == "void"
        assert stage.run().status == "ok"
        component.visits[-1].handed_out = 99
        with pytest.raises(RunEnded, match="99 trials are enough"):
            stage.run()
