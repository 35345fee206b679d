"""Asks a run's measured arms for needs: which arm satisfies them, how surely, what ties with it, and what would flip the answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mastery.errors import UsageError
from mastery.lab.claim import Relation
from mastery.lab.document import AdviceRecord, ArmRecord, RunDocument
from mastery.report import labels
from mastery.report.need import Need, arms_of
from mastery.report.numbers import share
from mastery.report.pairing import indistinguishable
from mastery.report.reach import Reach, Sureness, documented_bounds, reach_of, weakest
from mastery.report.sourced import Provenance, SourcedRun, fingerprint, machine_class


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """One arm against all needs, in their order."""

    arm: ArmRecord
    sureness: Sureness
    reaches: tuple[Reach, ...]
    answers: tuple[Sureness, ...]


@dataclass(frozen=True, slots=True)
class Tie:
    """An arm that satisfies the needs as surely and cannot be told from the recommended one; `share` is its frontier share."""

    arm: ArmRecord
    why: str
    share: float | None


class Direction(StrEnum):
    """Which way a threshold would have to move."""

    TIGHTER = "tighter"
    LOOSER = "looser"


@dataclass(frozen=True, slots=True)
class Flip:
    """What would change the answer. `LOOSER`: with the threshold at `threshold`; `TIGHTER`: with any stricter one.

    `then` is the arm that would be recommended, None for none, and `sureness` how surely.
    """

    need: Need
    direction: Direction
    threshold: float
    arm: ArmRecord
    then: ArmRecord | None
    sureness: Sureness


@dataclass(frozen=True, slots=True)
class Answer:
    """What the run says about the needs; `sureness` is that of the recommended arm, `no` where there is none."""

    run: SourcedRun
    needs: tuple[Need, ...]
    arms: tuple[ArmAnswer, ...]
    recommended: ArmAnswer | None
    sureness: Sureness
    ties: tuple[Tie, ...]
    flips: tuple[Flip, ...]
    cautions: tuple[AdviceRecord, ...]


def decide(run: SourcedRun, needs: Sequence[Need], *, here: str | None = None) -> Answer:
    """Answers from one run. `here` is the fingerprint of the machine that asks.

    An arm that surely satisfies all needs comes before one that only probably does; among equals the best on the
    primary metric is recommended.
    """
    if not needs:
        raise UsageError("There is no need to decide by.", remedy="Add one: --need 'p99 <= 5 ms'")
    for need in needs:
        if need.selector:
            raise UsageError(
                f"The need {need.text!r} selects arms, but deciding is choosing among them.", remedy="Leave the selector out."
            )
    document = run.document
    bounds = documented_bounds(document)
    table = _Table(document, {arm.index: tuple(reach_of(document, arm, need, bounds) for need in needs) for arm in document.arms})
    asked = tuple(need.threshold for need in needs)
    chosen, sureness = table.choose(asked)
    arms = tuple(
        ArmAnswer(arm, table.sureness(arm.index, asked), table.reaches[arm.index], table.answers(arm.index, asked))
        for arm in document.arms
    )
    return Answer(
        run=run,
        needs=tuple(needs),
        arms=arms,
        recommended=next((each for each in arms if each.arm.index == chosen), None),
        sureness=sureness,
        ties=_ties(table, asked, chosen, sureness),
        flips=_flips(table, asked, needs),
        cautions=_cautions(run, here),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """All reaches of a run by arm; what is asked (one threshold a need) stays a parameter, so that it can be varied."""

    document: RunDocument
    reaches: Mapping[int, tuple[Reach, ...]]

    def answers(self, arm: int, asked: Sequence[float]) -> tuple[Sureness, ...]:
        return tuple(reach.at(threshold) for reach, threshold in zip(self.reaches[arm], asked, strict=True))

    def sureness(self, arm: int, asked: Sequence[float]) -> Sureness:
        return weakest(self.answers(arm, asked))

    def choose(self, asked: Sequence[float]) -> tuple[int | None, Sureness]:
        for level in (Sureness.SURELY, Sureness.PROBABLY):
            satisfying = [arm for arm in self.reaches if self.sureness(arm, asked) is level]
            if satisfying:
                return min(satisfying, key=self.rank), level
        return None, Sureness.NO

    def rank(self, arm: int) -> tuple[float, int]:
        """Sorts the best on the primary metric first; an arm without a figure last, then by number."""
        figure = self.figure(arm)
        sign = 1.0 if self.document.primary.better == "lower" else -1.0
        return (float("inf") if figure is None else sign * figure, arm)

    def arm(self, index: int | None) -> ArmRecord | None:
        return None if index is None else self.document.arm(index)

    def figure(self, arm: int) -> float | None:
        primary = self.document.primary.name
        guardrail = self.document.guardrail(arm, primary)
        if guardrail is not None:
            return guardrail.maximum if self.document.primary.better == "lower" else guardrail.minimum
        estimate = self.document.estimate(arm, primary)
        return None if estimate is None or estimate.withheld else estimate.value


def _ties(table: _Table, asked: Sequence[float], chosen: int | None, sureness: Sureness) -> tuple[Tie, ...]:
    if chosen is None:
        return ()
    document = table.document
    found: list[Tie] = []
    for arm in document.arms:
        if arm.index != chosen and table.sureness(arm.index, asked) is sureness:
            why = indistinguishable(document, chosen, arm.index)
            if why:
                on_frontier = document.frontier.share.get(str(arm.index)) if document.frontier else None
                found.append(Tie(arm, why, on_frontier))
    return tuple(sorted(found, key=lambda tie: table.rank(tie.arm.index)))


def _flips(table: _Table, asked: Sequence[float], needs: Sequence[Need]) -> tuple[Flip, ...]:
    document, (chosen, sureness) = table.document, table.choose(asked)
    found: list[Flip] = []
    for position, need in enumerate(needs):
        if chosen is not None:
            reach = table.reaches[chosen][position]
            bound = reach.surely if sureness is Sureness.SURELY else reach.probably
            assert bound is not None, "an arm that satisfies a need has the threshold from which it does"
            # The next number that the bound does not reach: a threshold as little stricter as can be.
            stricter = math.nextafter(bound, -math.inf if need.relation is Relation.AT_MOST else math.inf)
            then = table.choose(_with(asked, position, stricter))
            if _can_be_stricter(need, bound):
                found.append(Flip(need, Direction.TIGHTER, bound, document.arm(chosen), table.arm(then[0]), then[1]))
        found.extend(_nearest_loser(table, asked, position, need, level=sureness if chosen is not None else Sureness.PROBABLY))
    return tuple(found)


def _can_be_stricter(need: Need, bound: float) -> bool:
    """Whether there is a figure beyond the bound: nothing is lost fewer than zero times, no share exceeds the whole."""
    if need.relation is Relation.AT_MOST:
        return bound > 0
    return bound < {"share": 1.0, "%": 100.0}.get(need.unit, math.inf)


def _nearest_loser(table: _Table, asked: Sequence[float], position: int, need: Need, *, level: Sureness) -> list[Flip]:
    """The arm that would be recommended if this need alone were relaxed, by the smallest relaxation."""
    now = table.choose(asked)
    nearest: tuple[float, Flip] | None = None
    for arm, reaches in table.reaches.items():
        bound = reaches[position].surely if level is Sureness.SURELY else reaches[position].probably
        if bound is None or not math.isfinite(bound) or need.allows(bound):
            continue
        then = table.choose(_with(asked, position, bound))
        distance = abs(bound - need.threshold)
        if then[0] == arm and then != now and (nearest is None or distance < nearest[0]):
            loser = table.document.arm(arm)
            nearest = (distance, Flip(need, Direction.LOOSER, bound, loser, loser, then[1]))
    return [nearest[1]] if nearest else []


def _with(asked: Sequence[float], position: int, threshold: float) -> tuple[float, ...]:
    return (*asked[:position], threshold, *asked[position + 1 :])


def _cautions(run: SourcedRun, here: str | None) -> tuple[AdviceRecord, ...]:
    document = run.document
    found: list[AdviceRecord] = []
    again = f"mastery run {document.experiment}"
    if run.provenance is not Provenance.OWN:
        text = f"These figures are {run.provenance} ones, of a {machine_class(document)}, not yours."
        found.append(AdviceRecord(code="not-yours", text=text, remedy=again))
    elif here is not None and here != fingerprint(document):
        text = f"The run was made on another machine or another state of this one ({machine_class(document)})."
        found.append(AdviceRecord(code="other-machine", text=text, remedy=again))
    if document.mode == "quick":
        text = f"The run is a quick one of {document.rule.blocks} blocks: an indication."
        found.append(AdviceRecord(code="indication", text=text, remedy=again))
    if document.stopped == "interrupted":
        found.append(AdviceRecord(code="interrupted", text="The run was stopped before its planned end.", remedy=again))
    for arm in document.arms:
        trials = [each for each in document.trials if each.arm == arm.index and not each.cold and each.reference is None]
        void = sum(each.status == "void" for each in trials)
        if void * 10 > len(trials):
            named = labels.named(document, arm.index)
            text = f"{share(void / len(trials))} of the trials of {named} are void; the rest may be the easier ones."
            found.append(AdviceRecord(code="voids", text=text, remedy=f"mastery results {document.id}"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One `--require` against a run: it holds when it does on every selected arm."""

    need: Need
    held: bool
    arms: tuple[tuple[ArmRecord, bool, str], ...]


def check_requirement(document: RunDocument, need: Need) -> Requirement:
    """Whether what was measured satisfies the need, for the arms of its selector, without one for the baseline.

    A requirement asks about this run, not the next: the figure itself decides, for guardrails the worst trial and the
    documented bound. What was not measured or is withheld does not hold, because nobody has seen it hold.
    """
    bounds = documented_bounds(document)
    found: list[tuple[ArmRecord, bool, str]] = []
    for arm in arms_of(need, document):
        reach = reach_of(document, arm, need, bounds)
        figure = reach.probably if reach.probably is not None else reach.measured
        found.append((arm, figure is not None and need.allows(figure), reach.why))
    return Requirement(need, all(held for _, held, _ in found), tuple(found))
