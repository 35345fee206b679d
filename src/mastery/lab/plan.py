"""What one run will do, laid out before its first trial: arms, slots of a block, length of a trial, budget."""

import math
from dataclasses import dataclass, field
from typing import Any

from mastery.lab.design import Slot
from mastery.lab.document import AdviceRecord, ArmRecord, ComponentRecord, PredictionRecord
from mastery.lab.experiment import Arm, Experiment, Level, Role
from mastery.lab.load import Load
from mastery.lab.planning import Mode
from mastery.lab.reference import Reference

# An agreement with an independent tool is judged on at least so many blocks, in a quick run too.
REFERENCE_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a run before its first trial and stands in its document."""

    run: str
    article: str
    started: str
    package: str
    target: str | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    components: tuple[ComponentRecord, ...] = ()
    prediction: PredictionRecord = field(default_factory=lambda: PredictionRecord(kind="skipped"))
    advice: tuple[AdviceRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One run as it is laid out: what will be done, in which order, for how long.

    `trial_s` is the load of one trial in seconds, `budget_s` what the whole run may take. `references` are those whose
    tool is present; `absent` says why the others are not.
    """

    experiment: Experiment
    header: Header
    mode: Mode
    seed: int
    trial_s: float
    budget_s: float
    arms: tuple[Arm, ...]
    skipped: tuple[ArmRecord, ...] = ()
    references: tuple[tuple[Reference, int], ...] = ()
    absent: tuple[tuple[Reference, str], ...] = ()
    # What of the budget may be load, in seconds; a quick run keeps to it.
    load_s: float = math.inf

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Everything that one block holds: the arms, the baseline once more, and each reference on its arm."""
        arms = [Slot(arm.index) for arm in self.arms]
        references = [Slot(index, reference=reference.id) for reference, index in self.references]
        return (*arms, *([Slot(self.baseline, placebo=True)] if self.has_placebo else []), *references)

    @property
    def baseline(self) -> int:
        return self.arms[0].index

    @property
    def home(self) -> dict[str, Level]:
        """The declared levels that a claim means where it names none; `baseline` is what this run compares with."""
        return self.experiment.declared_home(quick=self.mode is Mode.QUICK)

    @property
    def has_placebo(self) -> bool:
        """Whether the baseline runs twice a block: what is only counted has no noise floor to find."""
        return not self.experiment.exact and self.experiment.primary.role != Role.GUARDRAIL

    @property
    def fewest_blocks(self) -> int:
        if self.experiment.exact:
            return 1
        return max(self.mode.fewest_blocks, REFERENCE_BLOCKS if self.references else 0)


@dataclass(frozen=True, slots=True)
class Task:
    """What the one who starts trials is asked for."""

    slot: Slot
    block: int
    seed: int
    seconds: float
    load: Load
    cold: bool = False
    ramp: bool = False


def arm_records(plan: Plan) -> list[ArmRecord]:
    """The arms that run, and those that are skipped with their reasons, as the document lists them."""
    run = [
        ArmRecord(index=arm.index, levels=dict(arm.levels), label=arm.label(), baseline=arm.index == plan.baseline)
        for arm in plan.arms
    ]
    return sorted([*run, *plan.skipped], key=lambda record: record.index)
