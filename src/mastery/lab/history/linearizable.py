"""Decides whether a history of reads, writes and compare-and-sets could have come from one register per key.

The method is Wing and Gong's search with Lowe's memory of visited states, as in Porcupine: walk the calls and returns by
time, linearize a call when the register allows it, and go back when a return is met whose call was not. What has been
linearized (a bitset) together with the register's value is a state; a state seen before is not searched again.

    process 0: |--- write 1 ---|
    process 1:                    |--- read -> 0 ---|      violated: the write had returned before the read began

An operation with unknown end may take effect at any time after its invocation, or never: it has a call and no return,
and the search is over once every return has been passed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mastery.errors import DomainError
from mastery.lab.history.operations import End, Operation, Value


class Linearizability(StrEnum):
    """`unknown`: the budget of steps ran out before a decision."""

    LINEARIZABLE = "linearizable"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RegisterReport:
    """The decision; `prefix` is a linearization as long as could be found (the whole one when it is linearizable)."""

    judgement: Linearizability
    key: str = ""
    prefix: tuple[Operation, ...] = ()
    why: str = ""
    steps: int = 0


def check_registers(operations: Iterable[Operation], *, initial: Value = None, steps_at_most: int = 2_000_000) -> RegisterReport:
    """Each key is a register of its own (linearizability is local); the report is that of the worst key.

    `read` returns the value, `write` has it as its argument, `cas` has (expected, new) and returns whether it swapped.
    Steps, not time, bound the search, so that the same history gives the same answer on every machine.
    """
    by_key: dict[str, list[Operation]] = {}
    for operation in operations:
        by_key.setdefault(operation.key, []).append(operation)
    undecided: RegisterReport | None = None
    steps = 0
    prefix: tuple[Operation, ...] = ()
    for _, of_key in sorted(by_key.items()):
        report = check_register(of_key, initial=initial, steps_at_most=steps_at_most)
        steps += report.steps
        prefix += report.prefix
        if report.judgement is Linearizability.VIOLATED:
            return report
        if report.judgement is Linearizability.UNKNOWN:
            undecided = undecided or report
    return undecided or RegisterReport(Linearizability.LINEARIZABLE, prefix=prefix, steps=steps)


def check_register(operations: Sequence[Operation], *, initial: Value = None, steps_at_most: int = 2_000_000) -> RegisterReport:
    """The decision for the operations of one key."""
    search = _Search(_without_unseen([each for each in operations if _matters(each)]), initial)
    judgement = search.run(steps_at_most)
    key = operations[0].key if operations else ""
    prefix = tuple(search.operations[number] for number in search.longest)
    why = ""
    if judgement is Linearizability.VIOLATED:
        why = search.explanation(key)
    elif judgement is Linearizability.UNKNOWN:
        why = f"The register {key!r} was not decided within {steps_at_most} steps."
    return RegisterReport(judgement, key, prefix, why, search.steps)


def _matters(operation: Operation) -> bool:
    """Failed operations did nothing, and a read of unknown end saw nothing that could be checked."""
    expected = {"read": 0, "write": 1, "cas": 2}.get(operation.call)
    if expected is None or len(operation.arguments) != expected:
        raise DomainError(
            f"A register knows no {operation.call!r} with {len(operation.arguments)} arguments.",
            remedy="Record read(), write(value) or cas(expected, new).",
        )
    return operation.end is End.OK or (operation.end is End.UNKNOWN and operation.call != "read")


def _without_unseen(operations: list[Operation]) -> list[Operation]:
    """Leaves out writes of unknown end whose value nobody read: never to take effect suits them, and they double the search.

    A compare-and-set may need such a write to have failed, so with one in the history all stay.
    """
    if any(each.call == "cas" for each in operations):
        return operations
    read = {_tagged(each.value) for each in operations if each.call == "read"}
    return [each for each in operations if each.end is End.OK or _tagged(each.arguments[0]) in read]


def apply(operation: Operation, value: Value) -> tuple[bool, Value]:
    """Whether a register with this value may have answered so, and its value afterwards."""
    if operation.call == "read":
        return _same(operation.value, value), value
    if operation.call == "write":
        return True, operation.arguments[0]
    expected, new = operation.arguments
    swapped = _same(value, expected)
    allowed = operation.end is End.UNKNOWN or swapped == operation.value
    return allowed, new if swapped else value


def _same(left: Value, right: Value) -> bool:
    """Equal, and not merely as Python has it: True is not 1 in a register."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


class _Search:
    """The doubly linked list of calls and returns (by index), and the stack of what has been linearized.

    Calls are the entries 0 .. n-1 and returns n .. 2n-1, both by operation; `next` and `before` skip what is lifted out.
    """

    def __init__(self, operations: list[Operation], initial: Value) -> None:
        self.operations = operations
        self.value = initial
        self.steps = 0
        self.longest: tuple[int, ...] = ()
        self.value_then = initial
        self._linearized: list[tuple[int, Value]] = []
        self._bits = 0
        count = len(operations)
        self._head = 2 * count
        # Intervals are closed: of two entries at the same time the call comes first, so that they overlap.
        times = [(each.invoked_ns, 0, number) for number, each in enumerate(operations)]
        times += [(each.returned_ns, 1, number + count) for number, each in enumerate(operations) if each.returned_ns is not None]
        entries = [entry for _, _, entry in sorted(times)]
        self._next = [self._head] * (2 * count + 1)
        self._before = [self._head] * (2 * count + 1)
        for left, right in zip([self._head, *entries], [*entries, self._head], strict=True):
            self._next[left], self._before[right] = right, left
        self._returns = len(times) - count

    def run(self, steps_at_most: int) -> Linearizability:
        count, seen = len(self.operations), {(0, _tagged(self.value))}
        entry = self._next[self._head]
        while self._returns:
            self.steps += 1
            if self.steps > steps_at_most:
                return Linearizability.UNKNOWN
            # While a return is in the list, the walk meets it before the end.
            if entry < count:
                allowed, value = apply(self.operations[entry], self.value)
                state = (self._bits | 1 << entry, _tagged(value))
                if allowed and state not in seen:
                    seen.add(state)
                    self._linearize(entry, value)
                    entry = self._next[self._head]
                else:
                    entry = self._next[entry]
            else:
                if not self._linearized:
                    return Linearizability.VIOLATED
                entry = self._next[self._take_back()]
        # Also when a dead end on the way, with writes of unknown end in it, was as long.
        self.longest, self.value_then = tuple(call for call, _ in self._linearized), self.value
        return Linearizability.LINEARIZABLE

    def _linearize(self, call: int, value: Value) -> None:
        self._linearized.append((call, self.value))
        self._bits |= 1 << call
        self.value = value
        self._lift(call)
        if self.operations[call].returned_ns is not None:
            self._lift(call + len(self.operations))
            self._returns -= 1

    def _take_back(self) -> int:
        self._remember()
        call, self.value = self._linearized.pop()
        self._bits ^= 1 << call
        if self.operations[call].returned_ns is not None:
            self._returns += 1
            self._unlift(call + len(self.operations))
        self._unlift(call)
        return call

    def _remember(self) -> None:
        if len(self._linearized) > len(self.longest):
            self.longest = tuple(call for call, _ in self._linearized)
            self.value_then = self.value

    def _lift(self, entry: int) -> None:
        self._next[self._before[entry]], self._before[self._next[entry]] = self._next[entry], self._before[entry]

    def _unlift(self, entry: int) -> None:
        self._next[self._before[entry]] = self._before[self._next[entry]] = entry

    def explanation(self, key: str) -> str:
        """What had been explained, and what could not come next."""
        explained = set(self.longest)
        left = [each for number, each in enumerate(self.operations) if number not in explained and each.returned_ns is not None]
        until = min((each.returned_ns for each in left if each.returned_ns is not None), default=0)
        stuck = "; ".join(str(each) for each in left if each.invoked_ns <= until)
        named = f" of {key!r}" if key else ""
        fit = f"{len(explained)} of {len(self.operations)} operations{named} fit one order"
        return f"{fit}, which leaves the value {self.value_then!r}; none of these may come next: {stuck}."


def _tagged(value: Value) -> tuple[bool, Value]:
    return isinstance(value, bool), value
