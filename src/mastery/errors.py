"""Every error that a user of Mastery can meet, each with the command or edit that mends it.

MasteryError                  exit 3
├── UsageError                exit 2   the words of the command are off
│   ├── UnknownName           exit 2   an experiment, arm, level, metric, run that does not exist
│   └── BrokenExperiment      exit 2   an experiment file that does not load or contradicts itself
├── Unsatisfied               exit 1   a check or a `--require` that does not hold
├── DomainError               exit 3   the work could not be done as asked
│   ├── TargetRefused         exit 3   a server of the user's that must not be touched
│   ├── StoreError            exit 3   the store is unreadable, full or read-only
│   └── HostileImport         exit 3   a file from elsewhere that breaks the rules of import
├── MachineCannot             exit 4   this machine lacks what the work needs
│   └── NeedsExtra            exit 4   an extra of the distribution is not installed
└── Busy                      exit 3   another run is measuring on this machine
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import ClassVar


class MasteryError(Exception):
    """What happened (with the value), and the remedy; the edges print both and no traceback."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 3

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> "tuple[Callable[..., MasteryError], tuple[type[MasteryError], dict[str, object]]]":
        # A run process hands its error to the one that speaks with the user; not every kind is made from its message.
        return _made_again, (type(self), dict(vars(self)))


class UsageError(MasteryError):
    """The words of the command are off."""

    code = "usage"
    exit_status = 2


class UnknownName(UsageError):
    """A name that stands for nothing here; the message offers the nearest ones."""

    code = "unknown-name"

    def __init__(self, noun: str, name: str, known: list[str] | tuple[str, ...], *, remedy: str) -> None:
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(repr(each) for each in near)}?" if near else ""
        super().__init__(f"There is no {noun} {name!r}.{hint}", remedy=remedy)


class BrokenExperiment(UsageError):
    """An experiment file that does not load, or whose declaration contradicts itself."""

    code = "broken-experiment"


class Unsatisfied(MasteryError):
    """A requirement that was checked and does not hold."""

    code = "unsatisfied"
    exit_status = 1


class DomainError(MasteryError):
    """The work could not be done as asked."""

    code = "domain"


class TargetRefused(DomainError):
    """A server of the user's that must not be touched as it is."""

    code = "target-refused"


class StoreError(DomainError):
    """The store of runs and events is unreadable, full or read-only."""

    code = "store"


class HostileImport(DomainError):
    """A file from elsewhere that breaks the rules of import; nothing of it was taken."""

    code = "hostile-import"


class Busy(DomainError):
    """Another run is measuring on this machine; two at once would measure each other."""

    code = "busy"


class MachineCannot(MasteryError):
    """This machine lacks what the work needs."""

    code = "machine-cannot"
    exit_status = 4


class NeedsExtra(MachineCannot):
    """An extra of the distribution is not installed; the launcher adds it, others get the command."""

    code = "needs-extra"

    def __init__(self, extra: str, *, why: str) -> None:
        super().__init__(
            f"{why} needs the extra {extra!r}, which is not installed.", remedy=f"pip install 'backend-mastery[{extra}]'"
        )
        self.extra = extra


def _made_again(kind: type[MasteryError], values: dict[str, object]) -> MasteryError:
    error = kind.__new__(kind, values["message"])
    vars(error).update(values)
    return error
