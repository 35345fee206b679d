"""Faults that strike a service while a trial runs: declared beside the operation, never inside it."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from mastery.errors import BrokenExperiment


class FaultKind(StrEnum):
    """What befalls the service."""

    KILL = "kill"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Fault:
    """`resource` is struck at a moment that the seed draws from `after_s`, in seconds since the trial's process began.

    A paused service goes on after `for_s`. A killed one stays dead for the rest of the trial; the next trial starts it again.
    """

    resource: str
    kind: FaultKind = FaultKind.KILL
    after_s: tuple[float, float] = (0.1, 0.3)
    for_s: float = 0.2


class Breakable(Protocol):
    """A service that can be struck."""

    def crash(self) -> None:
        """Ends it at once, without a farewell (SIGKILL)."""

    def pause(self) -> None:
        """Stops it where it stands (SIGSTOP): it holds its connections and answers nothing."""

    def resume(self) -> None:
        """Lets it go on."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing to be done to a service, so many seconds after the trial's process began."""

    at_s: float
    resource: str
    action: str


def strikes(faults: tuple[Fault, ...], *, seed: int) -> tuple[Strike, ...]:
    """What is to be done and when, in order of time; the moments follow from the seed of the block."""
    rng = Random(seed)
    planned: list[Strike] = []
    for fault in faults:
        at_s = rng.uniform(*fault.after_s)
        if fault.kind is FaultKind.KILL:
            planned.append(Strike(at_s, fault.resource, "crash"))
        else:
            planned += [Strike(at_s, fault.resource, "pause"), Strike(at_s + fault.for_s, fault.resource, "resume")]
    return tuple(sorted(planned, key=lambda strike: strike.at_s))


def strike(service: object, planned: Strike) -> None:
    """Does it; raises `BrokenExperiment` for a service that cannot be struck (a server of the user's never can)."""
    action = getattr(service, planned.action, None)
    if action is None:
        raise BrokenExperiment(
            f"{planned.resource} cannot be struck by a fault: it does not know {planned.action!r}.",
            remedy="Faults are for components that we start ourselves; leave them out with --arms, or use no --target.",
        )
    action()
