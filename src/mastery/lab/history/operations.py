"""Operations as clients saw them: what was asked, over which closed interval, and what came back if anything did."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mastery.errors import DomainError
from mastery.lab.operation import HistoryEntry

# Whatever hashes and JSON can say.
Value = str | int | float | bool | None


class End(StrEnum):
    """`fail` promises that nothing happened; `unknown` may have happened, may still happen, or never."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Did:
    """What an operation of an experiment returns (or carries in its exception's `did`) to be checked afterwards."""

    call: str
    key: str = ""
    arguments: tuple[Value, ...] = ()
    value: Value = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One call with its closed interval [invoked_ns, returned_ns]; `returned_ns` is None exactly when the end is unknown."""

    process: int
    call: str
    key: str
    arguments: tuple[Value, ...]
    invoked_ns: int
    returned_ns: int | None
    end: End
    value: Value = None

    def __str__(self) -> str:
        words = " ".join([self.call, *([self.key] if self.key else []), *(repr(each) for each in self.arguments)])
        result = {End.OK: f" -> {self.value!r}", End.FAIL: ", which failed", End.UNKNOWN: ", end unknown"}[self.end]
        return f"process {self.process}: {words}{result}"


def operations_of(history: Iterable[HistoryEntry]) -> tuple[Operation, ...]:
    """The recorded history of a trial as operations, by invocation. Refused and retry took no effect, and failed.

    Raises DomainError for an entry whose operation did not return (or carry) a `Did`.
    """
    operations = [_operation(entry) for entry in history]
    return tuple(sorted(operations, key=lambda each: (each.invoked_ns, each.process)))


def end_of(entry: HistoryEntry) -> End:
    """The end in the words of the checkers: whatever is neither ok nor a plain no is unknown."""
    return {"ok": End.OK, "refused": End.FAIL, "retry": End.FAIL}.get(entry.outcome, End.UNKNOWN)


def _operation(entry: HistoryEntry) -> Operation:
    did, end = entry.value, end_of(entry)
    if not isinstance(did, Did):
        raise DomainError(
            f"An operation of process {entry.process} ended {entry.outcome} and left {did!r} where its history needs a Did.",
            remedy="Return Did(call, key, arguments, value) from the operation, and raise its outcomes with did=Did(...).",
        )
    returned_ns = None if end is End.UNKNOWN else entry.returned_ns
    return Operation(entry.process, did.call, did.key, did.arguments, entry.invoked_ns, returned_ns, end, did.value)


def to_json_lines(operations: Iterable[Operation]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(operation) + b"\n" for operation in operations)


def from_json_lines(lines: bytes) -> tuple[Operation, ...]:
    """What `to_json_lines` wrote; raises DomainError with the number of the line that is no operation."""
    operations: list[Operation] = []
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            operations.append(msgspec.json.decode(line, type=Operation))
        except msgspec.MsgspecError as reason:
            raise DomainError(
                f"Line {number} of the history is no operation: {reason}.", remedy="Record the history again."
            ) from reason
    return tuple(operations)
