"""What clients saw, in the order in which they saw it: invocations, returns, and the operations that they form."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mastery.errors import DomainError

# Whatever JSON can say; lists decode to lists, so a checker that hashes values turns them into tuples itself.
Value = str | int | float | bool | None | list["str | int | float | bool | None"]


class Phase(StrEnum):
    """An event is a call or its end; `unknown` is the end that says neither yes nor no (a time-out, a lost connection)."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class End(StrEnum):
    """`fail` promises that nothing happened; `unknown` may have happened, may still happen, or never."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a recorded history; `arguments` belong to the call, `value` is what an `ok` returned."""

    phase: Phase
    process: int
    at_ns: int
    call: str = ""
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
        words = " ".join(repr(each) for each in self.arguments)
        result = {End.OK: f" -> {self.value!r}", End.FAIL: " failed", End.UNKNOWN: " -> ?"}[self.end]
        return f"process {self.process}: {self.call} {self.key}{' ' if words else ''}{words}{result}"


def pair(events: Iterable[Event]) -> tuple[Operation, ...]:
    """The operations of a history, by invocation; a call without an end is unknown.

    Raises DomainError for an end without a call, or a second call by a process that has one open.
    """
    open_calls: dict[int, Event] = {}
    operations: list[Operation] = []
    for event in sorted(events, key=lambda each: (each.at_ns, each.phase is not Phase.INVOKE)):
        if event.phase is Phase.INVOKE:
            if event.process in open_calls:
                raise _broken(event, "calls while its last call is open")
            open_calls[event.process] = event
            continue
        if event.process not in open_calls:
            raise _broken(event, "ends a call that it never began")
        operations.append(_operation(open_calls.pop(event.process), event))
    operations += [_operation(call, None) for call in open_calls.values()]
    return tuple(sorted(operations, key=lambda each: (each.invoked_ns, each.process)))


def _operation(call: Event, end: Event | None) -> Operation:
    known = end is not None and end.phase is not Phase.UNKNOWN
    return Operation(
        process=call.process,
        call=call.call,
        key=call.key,
        arguments=call.arguments,
        invoked_ns=call.at_ns,
        returned_ns=end.at_ns if end is not None and known else None,
        end=End(end.phase.value) if end is not None else End.UNKNOWN,
        value=end.value if end is not None else None,
    )


def _broken(event: Event, what: str) -> DomainError:
    return DomainError(
        f"The history is broken: process {event.process} {what}, at {event.at_ns} ns.",
        remedy="Give every client a process number of its own, and a new one after a call whose end is unknown.",
    )


def to_json_lines(events: Iterable[Event]) -> bytes:
    """One JSON object a line, as recorded."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def from_json_lines(lines: bytes) -> tuple[Event, ...]:
    """What `to_json_lines` wrote; raises DomainError with the line that is not an event."""
    events: list[Event] = []
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.MsgspecError as reason:
            raise DomainError(
                f"Line {number} of the history is not an event: {reason}.", remedy="Record the history again."
            ) from reason
    return tuple(events)
