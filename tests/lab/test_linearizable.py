"""The register checker agrees with brute force, and with histories whose answer is known."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastery.errors import DomainError
from mastery.lab.history.linearizable import Linearizability, apply, check_register, check_registers
from mastery.lab.history.operations import End, Operation, Value


def op(
    process: int, call: str, *arguments: Value, at: tuple[int, int | None], value: Value = None, end: End = End.OK, key: str = "x"
) -> Operation:
    return Operation(process, call, key, arguments, at[0], at[1], end, value)


def linearizable_by_brute_force(operations: list[Operation], initial: Value = None) -> bool:
    """Every subset of the unknown operations, in every order that respects who returned before whom was invoked."""
    sure = [each for each in operations if each.end is End.OK]
    unsure = [each for each in operations if each.end is End.UNKNOWN]
    for chosen in range(1 << len(unsure)):
        some = sure + [each for bit, each in enumerate(unsure) if chosen >> bit & 1]
        if any(_fits(order, initial) for order in permutations(some)):
            return True
    return False


def _fits(order: tuple[Operation, ...], initial: Value) -> bool:
    value = initial
    for place, each in enumerate(order):
        if any(later.returned_ns is not None and later.returned_ns < each.invoked_ns for later in order[place + 1 :]):
            return False
        allowed, value = apply(each, value)
        if not allowed:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    operations = []
    for process in range(draw(st.integers(1, 5))):
        invoked = draw(st.integers(0, 8))
        end = draw(st.sampled_from([End.OK, End.OK, End.OK, End.UNKNOWN, End.FAIL]))
        returned = None if end is End.UNKNOWN else invoked + draw(st.integers(0, 4))
        value = st.integers(0, 2)
        match draw(st.sampled_from(["read", "write", "cas"])):
            case "read":
                result = draw(value) if end is End.OK else None
                operations.append(op(process, "read", at=(invoked, returned), value=result, end=end))
            case "write":
                operations.append(op(process, "write", draw(value), at=(invoked, returned), end=end))
            case _:
                swapped = draw(st.booleans()) if end is End.OK else None
                operations.append(op(process, "cas", draw(value), draw(value), at=(invoked, returned), value=swapped, end=end))
    return operations


@settings(max_examples=600, deadline=None)
@given(histories())
def test_the_search_agrees_with_trying_every_order(operations: list[Operation]) -> None:
    report = check_register(operations, initial=0)
    expected = linearizable_by_brute_force(operations, initial=0)
    assert report.judgement is (Linearizability.LINEARIZABLE if expected else Linearizability.VIOLATED)
    assert _fits(report.prefix, 0), "what is shown as a linearization is one"
    if expected:
        assert {each for each in operations if each.end is End.OK} <= set(report.prefix)


def test_a_read_may_see_a_write_that_has_not_returned() -> None:
    history = [op(0, "write", 1, at=(0, 10)), op(1, "read", at=(2, 4), value=1), op(2, "read", at=(3, 5), value=0)]
    assert check_register(history, initial=0).judgement is Linearizability.LINEARIZABLE


def test_a_stale_read_after_the_write_returned_is_a_violation_and_is_named() -> None:
    history = [op(0, "write", 1, at=(0, 10)), op(1, "read", at=(11, 12), value=0)]
    report = check_register(history, initial=0)
    assert report.judgement is Linearizability.VIOLATED
    assert "process 1: read x -> 0" in report.why
    assert "leaves the value 1" in report.why


def test_two_readers_may_not_see_the_value_go_back() -> None:
    history = [op(0, "write", 1, at=(0, 100)), op(1, "read", at=(10, 20), value=1), op(2, "read", at=(30, 40), value=0)]
    assert check_register(history, initial=0).judgement is Linearizability.VIOLATED


def test_intervals_are_closed_so_touching_operations_are_concurrent() -> None:
    history = [op(0, "write", 1, at=(0, 10)), op(1, "read", at=(10, 12), value=0)]
    assert check_register(history, initial=0).judgement is Linearizability.LINEARIZABLE


@pytest.mark.parametrize("seen", [[0, 0], [0, 1], [1, 1]])
def test_a_write_of_unknown_end_may_take_effect_late_or_never(seen: list[int]) -> None:
    history = [op(0, "write", 1, at=(0, None), end=End.UNKNOWN)]
    history += [op(1, "read", at=(10 * n, 10 * n + 5), value=value) for n, value in enumerate(seen, start=1)]
    assert check_register(history, initial=0).judgement is Linearizability.LINEARIZABLE


def test_a_write_of_unknown_end_takes_effect_once() -> None:
    history = [op(0, "write", 1, at=(0, None), end=End.UNKNOWN), op(1, "write", 2, at=(20, 25))]
    reads = [op(2, "read", at=(10 * n, 10 * n + 5), value=value) for n, value in ((1, 1), (3, 2), (4, 1))]
    assert check_register(history + reads, initial=0).judgement is Linearizability.VIOLATED


@pytest.mark.parametrize("seen", [0, 1])
def test_a_swap_of_unknown_end_may_have_happened_or_not(seen: int) -> None:
    history = [op(0, "cas", 0, 1, at=(0, None), end=End.UNKNOWN), op(1, "read", at=(10, 11), value=seen)]
    assert check_register(history, initial=0).judgement is Linearizability.LINEARIZABLE


def test_a_write_that_failed_must_not_be_seen() -> None:
    history = [op(0, "write", 1, at=(0, 5), end=End.FAIL), op(1, "read", at=(10, 12), value=1)]
    assert check_register(history, initial=0).judgement is Linearizability.VIOLATED


def test_of_two_swaps_from_one_value_only_one_may_win() -> None:
    history = [op(n, "cas", 0, n + 1, at=(0, 10), value=True) for n in range(2)]
    assert check_register(history, initial=0).judgement is Linearizability.VIOLATED
    history[1] = op(1, "cas", 0, 2, at=(0, 10), value=False)
    assert check_register(history, initial=0).judgement is Linearizability.LINEARIZABLE


def test_true_is_not_one() -> None:
    history = [op(0, "write", 1, at=(0, 1)), op(0, "read", at=(2, 3), value=True)]
    assert check_register(history).judgement is Linearizability.VIOLATED


def test_keys_are_registers_of_their_own_and_the_violated_one_is_reported() -> None:
    good = [op(0, "write", 1, at=(0, 1), key="a"), op(0, "read", at=(2, 3), value=1, key="a")]
    bad = [op(1, "write", 1, at=(0, 1), key="b"), op(1, "read", at=(2, 3), value=0, key="b")]
    assert check_registers(good, initial=0).judgement is Linearizability.LINEARIZABLE
    report = check_registers(good + bad, initial=0)
    assert (report.judgement, report.key) == (Linearizability.VIOLATED, "b")


def test_a_search_without_budget_left_says_unknown_and_never_guesses() -> None:
    history = [op(n, "write", n, at=(0, 100)) for n in range(12)] + [op(99, "read", at=(200, 201), value=77)]
    assert check_register(history, steps_at_most=50).judgement is Linearizability.UNKNOWN
    assert "50 steps" in check_registers(history, steps_at_most=50).why
    assert check_register(history).judgement is Linearizability.VIOLATED


def test_a_violated_key_outweighs_an_undecided_one() -> None:
    slow = [op(n, "write", n, at=(0, 100), key="a") for n in range(12)] + [op(99, "read", at=(200, 201), value=77, key="a")]
    bad = [op(1, "read", at=(2, 3), value=5, key="b")]
    assert check_registers(slow + bad, steps_at_most=50).judgement is Linearizability.VIOLATED


def test_a_long_history_of_many_clients_is_decided_in_few_steps() -> None:
    # Each of 8 clients in turn overlaps the next: memory keeps the search near one step an entry.
    history = [op(n % 8, "write", n, at=(10 * n, 10 * n + 40)) for n in range(2_000)]
    history += [op(8, "read", at=(10 * n + 40, 10 * n + 41), value=n) for n in range(0, 2_000, 50)]
    report = check_register(sorted(history, key=lambda each: each.invoked_ns))
    assert report.judgement is Linearizability.LINEARIZABLE
    assert report.steps < 100_000


def test_many_writes_of_unknown_end_that_nobody_read_do_not_slow_the_search() -> None:
    # A partition: 300 writes time out while another client goes on; only one of them was ever seen.
    history = [op(n, "write", 1_000 + n, at=(n, None), end=End.UNKNOWN) for n in range(300)]
    history += [op(900, "write", n, at=(1_000 + 20 * n, 1_005 + 20 * n)) for n in range(300)]
    history += [op(900, "read", at=(1_010 + 20 * n, 1_015 + 20 * n), value=n) for n in range(299)]
    history += [op(900, "read", at=(6_990, 6_995), value=1_007)]
    report = check_register(sorted(history, key=lambda each: each.invoked_ns))
    assert report.judgement is Linearizability.LINEARIZABLE
    assert report.steps < 20_000
    stale = [*history, op(901, "read", at=(7_000, 7_001), value=5)]
    assert check_register(stale).judgement is Linearizability.VIOLATED


def test_a_call_that_no_register_knows_is_refused_with_its_name() -> None:
    with pytest.raises(DomainError, match="'increment'"):
        check_register([op(0, "increment", at=(0, 1))])
    with pytest.raises(DomainError, match="'cas' with 1"):
        check_register([op(0, "cas", 1, at=(0, 1))])


def test_nothing_that_happened_is_linearizable() -> None:
    assert check_registers([]).judgement is Linearizability.LINEARIZABLE
