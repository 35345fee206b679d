"""How arms are named in tables, plots and sentences: by the factors that vary, and by nothing else."""

from mastery.lab.document import ArmRecord, Level, RunDocument
from mastery.report.plain_text import printable


def varying(document: RunDocument) -> tuple[str, ...]:
    """The factors that take more than one level among the arms of this run."""
    return tuple(
        factor.name for factor in document.factors if len({repr(arm.levels.get(factor.name)) for arm in document.arms}) > 1
    )


# With more factors than these, a row of bare levels tells nobody which is which, and fits no column.
MOST_BARE = 3


def heading(document: RunDocument) -> str:
    """What stands above the column of arms: the names of the varying factors, or that the rows name what differs."""
    if len(varying(document)) > MOST_BARE:
        return "arm: what differs from *"
    return printable(" ".join(varying(document))) or "arm"


# With more factors than these a sentence that spells all levels of an arm is not read to its end.
MOST_SPELT = 2

MODELLED = "(modelled)"


def short(document: RunDocument, arm: ArmRecord) -> str:
    """The levels alone, for a column whose heading names the factors: `every 4096`; with many factors what differs."""
    names = varying(document)
    if len(names) > MOST_BARE and not arm.baseline:
        return difference(document, arm.index, document.baseline.index)[0]
    bare = printable(" ".join(level(arm.levels[name]) for name in names if name in arm.levels)) or "the only arm"
    return _marked(document, arm.index, bare)


def long(document: RunDocument, index: int) -> str:
    """The levels with their factors, for sentences: `sync=every record=4096`."""
    arm = document.arm(index)
    names = [name for name in varying(document) if name in arm.levels]
    spelt = printable(" ".join(f"{name}={level(arm.levels[name])}" for name in names)) or "the only arm"
    return _marked(document, index, spelt)


def named(document: RunDocument, index: int) -> str:
    """An arm in a sentence of its own: with many factors by what differs from the baseline, and that one as such."""
    if len(varying(document)) <= MOST_SPELT:
        return long(document, index)
    home = document.baseline.index
    return _marked(document, index, "the baseline") if index == home else difference(document, index, home)[0]


def is_modelled(document: RunDocument, index: int) -> bool:
    """Whether the arm's figures were worked out by a model rather than measured: its trials name the model."""
    return any(trial.arm == index and "model" in trial.notes for trial in document.trials)


def _marked(document: RunDocument, index: int, label: str) -> str:
    return f"{label} {MODELLED}" if is_modelled(document, index) else label


def difference(document: RunDocument, index: int, over: int) -> tuple[str, str]:
    """Two arms named by what differs between them only: (`sync=never`, `sync=every`)."""
    mine, theirs = document.arm(index).levels, document.arm(over).levels
    # In the order of the declaration: a stored document holds its levels in the order of the alphabet.
    declared = [factor.name for factor in document.factors if factor.name in mine]
    names = [name for name in declared if mine[name] != theirs.get(name)]
    if not names:
        return long(document, index), long(document, over)
    return (
        _marked(document, index, printable(" ".join(f"{name}={level(mine[name])}" for name in names))),
        _marked(document, over, printable(" ".join(f"{name}={level(theirs[name])}" for name in names if name in theirs))),
    )


def level(value: Level) -> str:
    """One level as a word: `on` and `off` for yes and no, as the settings of servers say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def fixed(document: RunDocument) -> str:
    """The factors that were held at one level: what the figures hold for, `call=fdatasync record=4096 B`."""
    names = set(varying(document))
    first = document.arms[0].levels if document.arms else {}
    words = [
        f"{factor.name}={level(first[factor.name])}{' ' + factor.unit if factor.unit else ''}"
        for factor in document.factors
        if factor.name not in names and factor.name in first
    ]
    return printable(", ".join(words))
