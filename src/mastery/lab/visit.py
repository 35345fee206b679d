"""A stay on servers of the user's: what the run may ask of them, refused or said before it starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mastery.components.targets import GUEST, OWNER, Allowance
from mastery.errors import TargetRefused
from mastery.lab.experiment import Arm, Experiment
from mastery.lab.load import Closed, Load


@dataclass(frozen=True, slots=True)
class Stay:
    """One server of the user's, by the component that it stands in for and the name that the user gave it."""

    component: str
    target: str
    is_owned: bool

    @property
    def allowance(self) -> Allowance:
        return OWNER if self.is_owned else GUEST


def stays_of(experiment: Experiment, targets: Mapping[str, str], allowed: Mapping[str, str]) -> tuple[Stay, ...]:
    """The servers of the user's that the experiment would work on; `allowed` holds the names that the user repeated."""
    used = {each.name: targets[each.name] for each in experiment.resources.values() if each.name in targets}
    return tuple(Stay(component, name, allowed.get("i-own-this-server") == name) for component, name in used.items())


def budget_within(stays: Sequence[Stay]) -> float:
    """The seconds that a run may take on these servers."""
    return min((stay.allowance.duration_s for stay in stays), default=math.inf)


def refuse_pushing(stays: Sequence[Stay], experiment: Experiment, arms: Sequence[Arm]) -> None:
    """Raises `TargetRefused` when an arm drives a server of somebody else's harder than a guest may."""
    guest = next((stay for stay in stays if not stay.is_owned), None)
    # What is only counted makes no load: it takes its steps one by one.
    if guest is None or experiment.exact:
        return
    for arm in arms:
        if too_much := _too_much(experiment.load_of(arm), guest.allowance):
            raise TargetRefused(
                f"{experiment.id} drives {too_much} at {arm.label()}; {guest.target!r} is not yours and gets at most "
                f"{guest.allowance.operations_per_s:.0f} op/s over {guest.allowance.connections} connections.",
                remedy=f"If it may be pushed to its limit, repeat its name: --i-own-this-server {guest.target}. "
                "Or run without --target.",
            )


def _too_much(load: Load, allowance: Allowance) -> str | None:
    """What a load asks beyond the allowance, in words."""
    if isinstance(load, Closed):
        return "a closed loop, as fast as the server answers,"
    if load.of_capacity is not None:
        return "a share of the server's capacity, which is found by pushing it to its limit,"
    if load.rate > allowance.operations_per_s:
        return f"{load.rate:g} op/s"
    if load.loaders > allowance.connections:
        return f"{load.loaders} connections"
    return None


def said_of(stays: Sequence[Stay]) -> list[str]:
    """What the user is told before the start about servers of theirs."""
    says: list[str] = []
    for stay in stays:
        says.append(
            f"Works on your {stay.component} {stay.target!r} in one scratch place, mastery_ and a random number, "
            "made at the start and dropped at the end."
        )
        limits = stay.allowance
        says.append(
            f"You own {stay.target!r}, so the load there is not bounded; waits for locks end after {limits.lock_timeout_ms} ms."
            if stay.is_owned
            else f"On {stay.target!r} at most {limits.connections} connections, {limits.operations_per_s:.0f} op/s, "
            f"{limits.wal_bytes >> 20} MiB of write-ahead log and {limits.duration_s:.0f} s; "
            f"waits for locks end after {limits.lock_timeout_ms} ms."
        )
    return says
