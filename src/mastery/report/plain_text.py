"""Texts of others made fit for a terminal: no control characters, and plain ASCII where the terminal knows no other."""

import unicodedata

# What our own output is drawn with, and what stands for it in ASCII.
_ASCII = str.maketrans(
    {
        "µ": "u", "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "●": "*", "○": "o", "─": "-", "┊": ":", "░": "~",
        "÷": "/", "├": "|", "┤": "|", "│": "|", "└": "`", "→": "->", "≤": "<=", "≥": ">=", "’": "'", "“": '"', "”": '"',
        "█": "#", "◇": "x",
    }
)  # fmt: skip


def printable(text: str) -> str:
    """The text on one line without anything that steers a terminal or reverses the direction of reading.

    Names and questions come from files of strangers: an escape sequence in one could rewrite what stands above it.
    """
    spaced = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return "".join(each for each in spaced if unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def to_ascii(text: str) -> str:
    """The text in ASCII: our own signs by their stand-ins, others by their base letter or a question mark."""
    swapped = text.translate(_ASCII)
    if swapped.isascii():
        return swapped
    decomposed = unicodedata.normalize("NFKD", swapped)
    bare = "".join(each for each in decomposed if not unicodedata.combining(each))
    return bare.encode("ascii", "replace").decode("ascii")
