"""How a run's load was driven, as sentences and columns: the loop, the rates, how late it was, what was refused."""

from collections.abc import Sequence
from statistics import median

from mastery.lab.document import ArmRecord, RunDocument, TrialRecord
from mastery.report import labels, numbers

# Outcomes that are no answer of the wanted kind; never left out where there is one, whatever the experiment declares.
_OUTCOMES = {"refused": "refused", "retried": "retried", "unknown": "in doubt"}
# What an open loop is read by, in this order: heading, key of the trial's load, unit.
_PACING = (
    ("offered", "offered_per_s", "op/s"),
    ("achieved", "achieved_per_s", "op/s"),
    ("completed", "completed_per_s", "op/s"),
    ("late, p50", "lateness_p50_s", "s"),
    ("late, p99", "lateness_p99_s", "s"),
)


def driving(document: RunDocument) -> list[str]:
    """How the operations were driven; nothing where no trial drove any."""
    return [*_open(document), *_closed(document), *_capacity(document), *_outcomes(document), *_folding(document)]


def load_columns(document: RunDocument, arms: Sequence[ArmRecord]) -> list[tuple[str, tuple[str, ...]]]:
    """Columns for the table of results, each a heading and a cell for each arm; empty cells where a loop was closed."""
    paced = _driven(document, "open")
    columns = [(heading, tuple(_middle(paced.get(arm.index, []), key, unit) for arm in arms)) for heading, key, unit in _PACING]
    for key, words in _OUTCOMES.items():
        counts = [_total(trials_of(document, arm.index), key) for arm in arms]
        if any(counts):
            columns.append((words, tuple(f"{count:,}" for count in counts)))
    return columns


def trials_of(document: RunDocument, arm: int) -> list[TrialRecord]:
    """The trials behind an arm's estimates: not void, not cold, not of the ramp, not the twin, not a tool's."""
    return [each for each in document.trials if each.arm == arm and _counts(each)]


def _counts(trial: TrialRecord) -> bool:
    return trial.status == "ok" and not (trial.cold or trial.ramp or trial.placebo) and trial.reference is None


def _driven(document: RunDocument, loop: str) -> dict[int, list[TrialRecord]]:
    found = {arm.index: [each for each in trials_of(document, arm.index) if each.load.get("loop") == loop] for arm in document.arms}
    return {arm: trials for arm, trials in found.items() if trials}


def _open(document: RunDocument) -> list[str]:
    by_arm = _driven(document, "open")
    if not by_arm:
        return []
    queueing = max(_median(trials, "queueing_mean_s") for trials in by_arm.values())
    busy = max(_median(trials, "busy_share") for trials in by_arm.values())
    return [
        f"Open loop, {_loaders(by_arm)}{_which(document, by_arm)}: operations start by a schedule that does not wait for answers, "
        "and latency counts from the intended start.",
        f"Late is how far behind the schedule a free loader started. Waiting for a busy loader added up to "
        f"{numbers.quantity(queueing, 's')} at the mean; loaders were busy for up to {numbers.share(busy)} of the time.",
    ]


def _closed(document: RunDocument) -> list[str]:
    by_arm = _driven(document, "closed")
    if not by_arm:
        return []
    return [
        f"Closed loop, {_loaders(by_arm)}{_which(document, by_arm)}: each operation starts when the one before has ended, "
        "so a stall delays few of them."
    ]


def _loaders(by_arm: dict[int, list[TrialRecord]]) -> str:
    counts = sorted({int(each.load["loaders"]) for trials in by_arm.values() for each in trials if "loaders" in each.load})
    if not counts:
        return "loaders not recorded"
    return numbers.counted(counts[0], "loader") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} loaders"


def _which(document: RunDocument, by_arm: dict[int, list[TrialRecord]]) -> str:
    """Named only where the other arms were driven otherwise."""
    if len(by_arm) == sum(arm.skipped is None for arm in document.arms):
        return ""
    return f" in {numbers.counted(len(by_arm), 'arm')}"


def _capacity(document: RunDocument) -> list[str]:
    known = {str(arm.index) for arm in document.arms}
    found = [
        f"{labels.named(document, int(arm))} {numbers.quantity(rate, 'op/s')}"
        for arm, rate in document.rule.capacity.items()
        if arm in known
    ]
    return [f"Capacity, found by a ramp before: {'; '.join(found)}."] if found else []


def _outcomes(document: RunDocument) -> list[str]:
    """Over all arms; the table has them by arm."""
    trials = [each for arm in document.arms for each in trials_of(document, arm.index)]
    operations = _total(trials, "operations")
    counts = {words: _total(trials, key) for key, words in _OUTCOMES.items()}
    said = [f"{count:,} {'was' if count == 1 else 'were'} {words}" for words, count in counts.items() if count]
    return [f"Of {operations:,} operations {', '.join(said)}."] if said and operations else []


def _folding(document: RunDocument) -> list[str]:
    folding = sum(_number(each, "folding_s") for each in document.trials)
    if folding <= 0:
        return []
    return [f"Folding latencies into histograms took {numbers.quantity(folding, 's')} over all trials, outside the samples."]


def _middle(trials: Sequence[TrialRecord], key: str, unit: str) -> str:
    return numbers.quantity(_median(trials, key), unit) if any(key in each.load for each in trials) else ""


def _median(trials: Sequence[TrialRecord], key: str) -> float:
    return median([_number(each, key) for each in trials if key in each.load] or [0.0])


def _total(trials: Sequence[TrialRecord], key: str) -> int:
    return round(sum(_number(each, key) for each in trials))


def _number(trial: TrialRecord, key: str) -> float:
    value = trial.load.get(key, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0
