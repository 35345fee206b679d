"""Texts of strangers cannot steer a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from mastery.report.plain_text import printable, to_ascii


def test_escape_sequences_and_reversed_reading_are_taken_out() -> None:
    assert printable("a\x1b[31mred\x1b[0m\x07\x9b2J") == "a[31mred[0m2J"
    assert printable("safe\u202egnp.exe\u2066") == "safegnp.exe"
    assert printable("two\nlines\tand a tab") == "two lines and a tab"


@given(st.text())
def test_what_is_printable_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in shown)
    assert printable(shown) == shown


@given(st.text())
def test_ascii_is_ascii(text: str) -> None:
    assert to_ascii(text).isascii()


def test_our_own_signs_have_stand_ins() -> None:
    assert to_ascii("312 µs ●─┊· é") == "312 us *-:. e"
