"""Text that may be printed on a terminal: no control characters, no escape sequences, nothing that reverses reading order."""

import re
from typing import Any

# Line feed and tab are kept. The others move the cursor, start an escape sequence, turn the direction of reading
# (so that a line shows something else than it holds), or cannot be encoded at all (lone surrogates).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def first_unprintable(text: str) -> str | None:
    """The first character that must not reach a terminal, as `U+001B`; None for clean text."""
    found = _UNPRINTABLE.search(text)
    return f"U+{ord(found.group()):04X}" if found else None


def printable(text: str) -> str:
    """The text without such characters; a carriage return becomes a line feed, since programs end lines with it."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def printable_throughout(value: Any) -> Any:
    """The same for every text inside dictionaries and lists, keys included: for causes and versions that programs wrote."""
    match value:
        case str():
            return printable(value)
        case dict():
            return {printable_throughout(key): printable_throughout(each) for key, each in value.items()}
        case list() | tuple():
            return [printable_throughout(each) for each in value]
        case _:
            return value
