"""What the sessions of one case saw in one order: all that the judgement of an isolation level may use."""

from dataclasses import dataclass
from enum import StrEnum

from mastery.lab.anomalies import Case
from mastery.lab.interleaving import Order
from mastery.lab.statements import Commit, Row, Statement, WriteId


class Ended(StrEnum):
    """How a transaction ended as far as its client knows; `unknown` when the answer to its commit never came."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why a store aborted a transaction by itself, or failed to answer."""

    SERIALIZATION = "serialization"
    DEADLOCK = "deadlock"
    CONSTRAINT = "constraint"
    OTHER = "other"
    LOST = "lost"  # no answer: the effect of the statement is unknown


@dataclass(frozen=True, slots=True)
class Rows:
    """The statement succeeded; a changing statement returns the rows that it made, nothing when none matched."""

    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The statement failed, and with it the transaction."""

    cause: Cause
    message: str = ""


Reply = Rows | Failed


@dataclass(frozen=True, slots=True)
class Seen:
    """One statement that was sent, and its reply; `waited` when it was blocked by another session on the way."""

    session: int
    step: int
    statement: Statement
    reply: Reply
    waited: bool = False

    @property
    def write(self) -> WriteId:
        """The id that this statement appends to a row, if it changes one."""
        return WriteId(self.session, self.step)


@dataclass(frozen=True, slots=True)
class Transcript:
    """The replies in the order in which they came, and the rows afterwards (None: the store did not answer)."""

    case: Case
    order: Order
    seen: tuple[Seen, ...]
    final: tuple[Row, ...] | None

    def ended(self, session: int) -> Ended:
        """A transaction committed only when its commit was acknowledged; anything refused aborted it."""
        last = next((each for each in reversed(self.seen) if each.session == session), None)
        match last:
            case None:
                return Ended.ABORTED
            case Seen(statement=Commit(), reply=Rows()):
                return Ended.COMMITTED
            case Seen(statement=Commit(), reply=Failed(cause=Cause.LOST)):
                return Ended.UNKNOWN
            case _:
                return Ended.ABORTED
