"""How often the baseline differed from itself over the stored runs: the check of the method, accumulated."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from mastery.lab.guardrail import wilson_interval
from mastery.report.numbers import counted, share
from mastery.store.records import Origin, Standing
from mastery.store.store import Store

# One run in twenty alarms by chance, whatever the machine.
NOMINAL = 0.05


@dataclass(frozen=True, slots=True)
class Twins:
    """`alarms` of `runs` that measured their baseline twice; `low` and `high` are Wilson's 95 % interval of the share."""

    runs: int
    alarms: int
    low: float
    high: float

    def sentence(self) -> str:
        doubt = ": this machine changes within a block, trust its effects less" if self.low > NOMINAL else ""
        return (
            f"In {self.alarms} of {counted(self.runs, 'run')} the baseline differed from itself "
            f"({share(self.low)} to {share(self.high)}); {share(NOMINAL)} are expected by chance{doubt}."
        )


class TwinNoise(msgspec.Struct):
    """The two fields of a run's noise that are asked for; the rest is passed over, unread."""

    a_a_ratio: float | None = None
    a_a_alarm: bool = False


class Heard(msgspec.Struct):
    noise: TwinNoise


def twins_in(store: Store) -> Twins | None:
    """Over all closed runs of the reader's own; None where none measured its baseline twice."""
    own = [row.id for row in store.runs() if row.origin is Origin.OWN and row.standing is not Standing.OPEN]
    return twins_of(msgspec.json.decode(store.document(each), type=Heard).noise for each in own)


def twins_of(noises: Iterable[TwinNoise]) -> Twins | None:
    """The alarms among runs that have the check."""
    alarms = [each.a_a_alarm for each in noises if each.a_a_ratio is not None]
    if not alarms:
        return None
    return Twins(len(alarms), sum(alarms), *wilson_interval(sum(alarms), len(alarms)))
