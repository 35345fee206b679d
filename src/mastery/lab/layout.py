"""Before the start: which arms run, which are skipped and why, how long a trial is, and whether the budget holds it all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mastery.components.component import Here, Missing
from mastery.errors import MachineCannot, TargetRefused, UnknownName, UsageError
from mastery.lab.document import ArmRecord
from mastery.lab.experiment import Arm, Experiment, Factor, Level, Role
from mastery.lab.load import Closed
from mastery.lab.plan import Header, Plan
from mastery.lab.planning import FEWEST_BLOCKS, Mode, budget_sum
from mastery.lab.reference import Reference
from mastery.lab.standing import find_arm

# Seconds a whole run may take, and what of it may be load; `--budget` replaces the first and scales the second.
BUDGET_S = {Mode.QUICK: 45.0, Mode.NORMAL: 120.0, Mode.RIGOROUS: 600.0}
LOAD_SHARE = {Mode.QUICK: 20.0 / 45.0, Mode.NORMAL: 0.75, Mode.RIGOROUS: 0.75}
# Blocks that the length of a trial is chosen for; the pilot then fixes how many are run.
BLOCKS_AIMED_AT = {Mode.QUICK: 7, Mode.NORMAL: 14, Mode.RIGOROUS: 30}
SHORTEST_TRIAL_S = 0.05
LONGEST_TRIAL_S = 2.0
# What a server that is not ours is asked for, unless its owner lifts it.
VISIT_S = 60.0
VISIT_OPERATIONS_PER_S = 200
# Forking, set-up and folding around every trial, beside what the experiment itself declares.
ENGINE_OVERHEAD_S = 0.02


@dataclass(frozen=True, slots=True)
class Layout:
    """The arms and the length of a trial, as they follow from the declaration, the machine and the budget."""

    mode: Mode
    arms: tuple[Arm, ...]
    skipped: tuple[ArmRecord, ...]
    trial_s: float
    budget_s: float
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
) -> Layout:
    """Raises `UnknownName` for a factor or level that does not exist, `UsageError` for a budget too small to judge six
    blocks (with the sum), `MachineCannot` when no arm can run here."""
    chosen = {name: _levels(experiment.factor(name), words) for name, words in (levels or {}).items()}
    arms, skipped = _divide(experiment, experiment.arms(chosen, quick=mode is Mode.QUICK), found)
    references, absent = _references(experiment, arms, experiment.declared_home(quick=mode is Mode.QUICK))
    counted = experiment.exact or experiment.primary.role == Role.GUARDRAIL
    slots = len(arms) + len(references) + (0 if counted else 1)
    budget = BUDGET_S[mode] if budget_s is None else budget_s
    overhead_s = experiment.overhead_s + ENGINE_OVERHEAD_S
    trial_s = budget * LOAD_SHARE[mode] / (BLOCKS_AIMED_AT[mode] * slots)
    # Where the set-up of the trials takes most of a budget, they are shortened until the fewest blocks fit.
    trial_s = min(trial_s, LONGEST_TRIAL_S, budget / (FEWEST_BLOCKS * slots) - overhead_s)
    trial_s = max(trial_s, SHORTEST_TRIAL_S)
    cost = budget_sum(arms=slots, trial_s=trial_s + overhead_s, budget_s=budget)
    if not cost.fits and not experiment.exact:
        if budget_s is not None:
            raise UsageError(
                f"The budget is too small to judge anything: {cost}.",
                remedy=f"Give --budget {math.ceil(cost.needed_s * 1.1)}s, or fewer arms with --arms FACTOR=LEVEL,LEVEL.",
            )
        # The mode's own budget is a habit, not a promise: an experiment whose trials are long takes the time it needs.
        budget = cost.needed_s * 1.1
    return Layout(mode, arms, skipped, trial_s, budget, slots, references, absent)


def within_the_visit(experiment: Experiment, target: str, mode: Mode, budget_s: float | None) -> float:
    """The budget on a server that is not ours: at most a minute, and no load that pushes as hard as it can.

    Raises `TargetRefused` for a closed loop, whose rate nobody bounds; what is only counted makes no load.
    """
    if not experiment.exact and isinstance(experiment.load_of(experiment.arms(quick=True)[0]), Closed):
        raise TargetRefused(
            f"{experiment.id} drives a closed loop, as fast as {target!r} answers; a server that is not yours gets "
            f"at most {VISIT_OPERATIONS_PER_S} op/s.",
            remedy=f"If it may be pushed to its limit, repeat its name: --i-own-this-server {target}. Or run without --target.",
        )
    return min(budget_s or BUDGET_S[mode], VISIT_S)


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
    experiment: Experiment, arms: tuple[Arm, ...], home: Mapping[str, Level]
) -> tuple[tuple[tuple[Reference, int], ...], tuple[tuple[Reference, str], ...]]:
    """The references that can be measured in this run with the arm each stands beside, and why the others cannot."""
    present: list[tuple[Reference, int]] = []
    absent: list[tuple[Reference, str]] = []
    for reference in experiment.references:
        arm = find_arm(arms, reference.arm, home=home)
        answer = reference.tool.find()
        if isinstance(answer, Missing):
            absent.append((reference, f"{answer.reason} {answer.remedy}"))
        elif arm is None:
            absent.append((reference, "its arm does not run"))
        elif not reference.tool.serves(arm.levels):
            absent.append((reference, f"{reference.tool.name} does not do what the arm {arm.label()} does"))
        else:
            present.append((reference, arm.index))
    return tuple(present), tuple(absent)


def statements_of(experiment: Experiment, layout: Layout, found: Mapping[str, Here | Missing], *, where: Path) -> tuple[str, ...]:
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
    says.append(f"Writes below {where} and removes it at the end{': ' + experiment.writes if experiment.writes else ''}.")
    says.append("Touches nothing else: no setting of this machine, no server that it did not start, no file outside its folders.")
    return tuple(says)
