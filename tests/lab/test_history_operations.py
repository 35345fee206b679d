"""What the engine recorded becomes operations, and survives a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastery.errors import DomainError
from mastery.lab.history.operations import Did, End, Operation, from_json_lines, operations_of, to_json_lines
from mastery.lab.operation import HistoryEntry


def test_refused_and_retried_operations_failed_and_the_rest_without_answer_is_unknown() -> None:
    history = [
        HistoryEntry(1, 30, 40, "unknown", Did("write", "x", (2,))),
        HistoryEntry(0, 10, 20, "ok", Did("read", "x", (), 7)),
        HistoryEntry(2, 50, 60, "refused", Did("write", "x", (3,))),
        HistoryEntry(2, 70, 80, "retry", Did("write", "x", (4,))),
    ]
    operations = operations_of(history)
    assert [each.end for each in operations] == [End.OK, End.UNKNOWN, End.FAIL, End.FAIL]
    assert [each.returned_ns for each in operations] == [20, None, 60, 80]
    assert operations[0].value == 7


def test_an_operation_that_left_no_did_is_refused_with_what_it_left() -> None:
    with pytest.raises(DomainError, match="left 5 where") as caught:
        operations_of([HistoryEntry(3, 1, 2, "ok", 5)])
    assert "did=Did" in caught.value.remedy


values = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()


@given(st.lists(st.tuples(st.text(), st.lists(values, max_size=2), values, st.sampled_from(End))))
def test_a_history_survives_its_file(drawn: list[tuple[str, list[object], object, End]]) -> None:
    operations = tuple(
        Operation(n, "write", key, tuple(arguments), n, None if end is End.UNKNOWN else n + 1, end, value)  # type: ignore[arg-type]
        for n, (key, arguments, value, end) in enumerate(drawn)
    )
    assert from_json_lines(to_json_lines(operations)) == operations


def test_a_damaged_line_is_named() -> None:
    line = to_json_lines([Operation(0, "read", "x", (), 1, 2, End.OK, 3)])
    with pytest.raises(DomainError, match="Line 2"):
        from_json_lines(line + line[:-9] + b"\n")
