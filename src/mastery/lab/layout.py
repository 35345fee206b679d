"""Before the start: which arms run, which are skipped and why, how long a trial is, and whether the budget holds it all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mastery.components.component import Here, Missing
from mastery.errors import MachineCannot, UnknownName, UsageError
from mastery.lab.document import ArmRecord
from mastery.lab.experiment import Arm, Experiment, Factor, Level, Role
from mastery.lab.plan import REFERENCE_BLOCKS, Header, Plan
from mastery.lab.planning import FEWEST_BLOCKS, BudgetSum, Mode, budget_sum, fewest_blocks
from mastery.lab.reference import Reference
from mastery.lab.standing import find_arm
from mastery.lab.visit import Stay, budget_within, refuse_pushing, said_of

# Seconds a whole run may take, and what of it may be load; `--budget` replaces the first and scales the second.
BUDGET_S = {Mode.QUICK: 45.0, Mode.NORMAL: 120.0, Mode.RIGOROUS: 600.0}
LOAD_SHARE = {Mode.QUICK: 20.0 / 45.0, Mode.NORMAL: 0.75, Mode.RIGOROUS: 0.75}
# Blocks that the length of a trial is chosen for; the pilot then fixes how many are run.
BLOCKS_AIMED_AT = {Mode.QUICK: 7, Mode.NORMAL: 14, Mode.RIGOROUS: 30}
SHORTEST_TRIAL_S = 0.05
LONGEST_TRIAL_S = 2.0
# Forking, set-up and folding around every trial, beside what the experiment itself declares.
ENGINE_OVERHEAD_S = 0.02


@dataclass(frozen=True, slots=True)
class Layout:
    """The arms and the length of a trial, as they follow from the declaration, the machine and the budget.

    `load_s` is what of `budget_s` may be load; a quick run keeps to it.
    """

    mode: Mode
    arms: tuple[Arm, ...]
    skipped: tuple[ArmRecord, ...]
    trial_s: float
    budget_s: float
    load_s: float
    slots: int
    references: tuple[tuple[Reference, int], ...]
    absent: tuple[tuple[Reference, str], ...]

    @property
    def expected_s(self) -> float:
        """About how long the run will take at the most."""
        return self.budget_s

    def plan(self, experiment: Experiment, header: Header, *, seed: int) -> Plan:
        """The plan of one run by this layout."""
        return Plan(
            experiment=experiment,
            header=header,
            mode=self.mode,
            seed=seed,
            trial_s=self.trial_s,
            budget_s=self.budget_s,
            load_s=self.load_s,
            arms=self.arms,
            skipped=self.skipped,
            references=self.references,
            absent=self.absent,
        )


def lay_out(
    experiment: Experiment,
    found: Mapping[str, Here | Missing],
    *,
    mode: Mode,
    budget_s: float | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    stays: Sequence[Stay] = (),
) -> Layout:
    """Raises `UnknownName` for a factor or level that does not exist, `UsageError` for a budget too small to judge six
    blocks (with the sum), `MachineCannot` when no arm can run here, `TargetRefused` for too much load on a server of others."""
    chosen = {name: _levels(experiment.factor(name), words) for name, words in (levels or {}).items()}
    arms, skipped = _divide(experiment, experiment.arms(chosen, quick=mode is Mode.QUICK), found)
    refuse_pushing(stays, experiment, arms)
    references, absent = _references(experiment, arms, experiment.declared_home(quick=mode is Mode.QUICK), stays)
    counted = experiment.exact or experiment.primary.role == Role.GUARDRAIL
    slots = len(arms) + len(references) + (0 if counted else 1)
    limit_s = budget_within(stays)
    budget = min(BUDGET_S[mode] if budget_s is None else budget_s, limit_s)
    overhead_s = experiment.overhead_s + ENGINE_OVERHEAD_S
    load_s = budget * LOAD_SHARE[mode]
    aimed_at = max(BLOCKS_AIMED_AT[mode], REFERENCE_BLOCKS if references else 0)
    # The cold trial in front of the blocks is load as well.
    trial_s = load_s / (aimed_at * slots + (0 if counted else 1))
    # Where the set-up of the trials takes most of a budget, they are shortened until the fewest blocks fit.
    trial_s = min(trial_s, LONGEST_TRIAL_S, budget / (FEWEST_BLOCKS * slots) - overhead_s)
    trial_s = max(trial_s, SHORTEST_TRIAL_S, experiment.least_s)
    cost = budget_sum(arms=slots, trial_s=trial_s + overhead_s, budget_s=budget)
    if not cost.fits and not experiment.exact:
        if budget_s is not None or cost.needed_s * 1.1 > limit_s:
            raise _too_small(cost, limit_s)
        # The mode's own budget is a habit, not a promise: an experiment whose trials are long takes the time it needs.
        budget = cost.needed_s * 1.1
    if not counted and budget_s is None:
        # A mode promises verdicts: as many blocks as its strictest interval over all arms needs, even past its habit.
        blocks = fewest_blocks(mode, family=len(arms) - 1)
        budget = min(max(budget, 1.1 * blocks * slots * (trial_s + overhead_s)), max(budget, limit_s))
    if experiment.exact:
        budget = max(budget, slots * overhead_s)
    return Layout(mode, arms, skipped, trial_s, budget, load_s, slots, references, absent)


def _too_small(cost: BudgetSum, limit_s: float) -> UsageError:
    needed_s = math.ceil(cost.needed_s * 1.1)
    longer = f"Give --budget {needed_s}s, or" if needed_s <= limit_s else "Take"
    return UsageError(
        f"The budget is too small to judge anything: {cost}.", remedy=f"{longer} fewer arms with --arms FACTOR=LEVEL,LEVEL."
    )


def _levels(factor: Factor, words: Sequence[str]) -> list[Level]:
    """The levels that the user's words stand for: of the declaration, or a number of the same kind as its levels."""
    known = {str(level): level for level in factor.levels}
    return [known[word] if word in known else _own_level(factor, word) for word in words]


def _own_level(factor: Factor, word: str) -> Level:
    numbers = all(isinstance(level, int | float) and not isinstance(level, bool) for level in factor.levels)
    if numbers:
        try:
            return int(word) if all(isinstance(level, int) for level in factor.levels) else float(word)
        except ValueError:
            pass
    known = [str(level) for level in factor.levels]
    what = "Numbers of your own are welcome too. " if numbers else ""
    raise UnknownName(f"level of {factor.name}", word, known, remedy=f"{what}Levels of {factor.name}: {', '.join(known)}.")


def _divide(
    experiment: Experiment, arms: tuple[Arm, ...], found: Mapping[str, Here | Missing]
) -> tuple[tuple[Arm, ...], tuple[ArmRecord, ...]]:
    """The arms that can run, and those whose resource is missing; a missing resource never takes the whole run with it."""
    run: list[Arm] = []
    skipped: list[ArmRecord] = []
    last: Missing | None = None
    for arm in arms:
        misses = [answer for name in experiment.resources_of(arm) if isinstance(answer := found[name], Missing)]
        if not misses:
            run.append(arm)
            continue
        last = misses[0]
        skipped.append(
            ArmRecord(
                index=arm.index, levels=dict(arm.levels), label=arm.label(), skipped=misses[0].reason, remedy=misses[0].remedy
            )
        )
    if not run:
        assert last is not None, "an experiment has at least its baseline arm"
        raise MachineCannot(f"{experiment.id} cannot run here: {last.reason}", remedy=last.remedy)
    return tuple(run), tuple(skipped)


def _references(
    experiment: Experiment, arms: tuple[Arm, ...], home: Mapping[str, Level], stays: Sequence[Stay]
) -> tuple[tuple[tuple[Reference, int], ...], tuple[tuple[Reference, str], ...]]:
    """The references that can be measured in this run with the arm each stands beside, and why the others cannot."""
    present: list[tuple[Reference, int]] = []
    absent: list[tuple[Reference, str]] = []
    for reference in experiment.references:
        arm = find_arm(arms, reference.arm, home=home)
        answer = reference.tool.find()
        if isinstance(answer, Missing):
            absent.append((reference, f"{answer.reason} {answer.remedy}"))
        elif guests := [stay.target for stay in stays if not stay.is_owned]:
            absent.append((reference, f"{reference.tool.name} pushes as hard as it can, and {guests[0]!r} is not yours"))
        elif arm is None:
            absent.append((reference, "its arm does not run"))
        elif not reference.tool.serves(arm.levels):
            absent.append((reference, f"{reference.tool.name} does not do what the arm {arm.label()} does"))
        else:
            present.append((reference, arm.index))
    return tuple(present), tuple(absent)


def statements_of(
    experiment: Experiment, layout: Layout, found: Mapping[str, Here | Missing], *, where: Path, stays: Sequence[Stay] = ()
) -> tuple[str, ...]:
    """What the user is told before the start: what is done, how long, with what, what is written where, what is left alone."""
    arms = f"{len(layout.arms)} arm{'s' if len(layout.arms) != 1 else ''}"
    says = [
        f"Runs {arms} in random order, block by block, each trial in a process of its own; "
        f"at most about {layout.expected_s:.0f} s, {layout.trial_s:.2f} s of load a trial."
    ]
    for name, answer in found.items():
        if isinstance(answer, Here):
            says.append(f"Uses {name}: {' '.join(filter(None, (answer.how, answer.version)))}.")
    says += [f"Skips {arm.label}: {arm.skipped} {arm.remedy}" for arm in layout.skipped]
    says += said_of(stays)
    says.append(f"Writes below {where} and removes it at the end{': ' + experiment.writes if experiment.writes else ''}.")
    theirs = "no setting of it, no other place on it, no other server" if stays else "no server that it did not start"
    says.append(f"Touches nothing else: no setting of this machine, {theirs}, no file outside its folders.")
    return tuple(says)
