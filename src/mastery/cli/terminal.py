"""Where a command speaks: results on stdout, notes on stderr, and with `--json` exactly one document on stdout."""

import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from mastery.errors import MasteryError
from mastery.report.plain_text import printable, to_ascii

WIDTH = 80
WIDEST = 120


@dataclass(slots=True)
class Terminal:
    """The two streams of a command and what they can show."""

    stdout: TextIO
    stderr: TextIO
    width: int = WIDTH
    colour: bool = False
    unicode: bool = True
    # Whether the cursor can be sent back, for a line of progress that is drawn over.
    redraws: bool = True
    is_json: bool = False
    quiet: bool = False
    verbose: int = 0

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits there who can be asked and shown progress."""
        return self.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty() and not self.is_json

    def say(self, text: str = "", *, hang: int = 0) -> None:
        """A sentence on stdout, wrapped to the width; `hang` indents its further lines."""
        # A path or an id is never broken: it is there to be copied.
        words = text.lstrip(" ")
        fold = textwrap.TextWrapper(
            self.width,
            initial_indent=" " * (len(text) - len(words)),
            subsequent_indent=" " * hang,
            break_on_hyphens=False,
            break_long_words=False,
        )
        self.write("\n".join(fold.wrap(words) or [""]) + "\n")

    def write(self, text: str) -> None:
        """Text as it is, on stdout."""
        self.stdout.write(text if self.unicode else to_ascii(text))

    def draw(self, *renderables: Any) -> None:
        """Tables of rich on stdout, plain where colours are not wanted."""
        # Imported here: it costs a tenth of a second that commands without a table do not pay.
        from rich.console import Console

        buffer = io.StringIO()
        system = "standard" if self.colour else None
        console = Console(file=buffer, width=self.width, color_system=system, force_terminal=self.colour, highlight=False)  # type: ignore[arg-type]
        for renderable in renderables:
            console.print(renderable)
        self.write("\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")

    def document(self, value: Any) -> None:
        """The one JSON document of a command with `--json`."""
        self.stdout.write(json.dumps(value, ensure_ascii=not self.unicode, indent=2, allow_nan=False) + "\n")

    def raw_document(self, text: bytes) -> None:
        """A JSON document whose bytes must not change, because a hash was taken over them."""
        self.raw_lines(text + b"\n")

    def raw_lines(self, text: bytes) -> None:
        """Bytes as they are, whatever the encoding of the terminal."""
        self.stdout.flush()
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.stdout.write(text.decode())
        else:
            buffer.write(text)
            buffer.flush()

    def lose_reader(self) -> None:
        """From here on stdout leads nowhere: its reader went away, and what Python flushes at its end must not fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stdout.fileno())
        os.close(nowhere)

    def note(self, text: str) -> None:
        """A remark beside the result, on stderr; none with `-q`."""
        if not self.quiet:
            self._complain(text)

    def detail(self, text: str) -> None:
        """What only `-v` shows, on stderr."""
        if self.verbose:
            self._complain(text)

    def fail(self, error: MasteryError) -> None:
        """What happened and what mends it, on stderr; with `--json` the same on stdout as the one document."""
        message, remedy = printable(error.message), printable(error.remedy)
        if self.is_json:
            self.document({"error": {"code": error.code, "message": message, "remedy": remedy}})
        self._complain(f"mastery: {message}")
        if remedy:
            self._complain(f"         {remedy}")

    def _complain(self, text: str) -> None:
        self.stderr.write((text if self.unicode else to_ascii(text)) + "\n")
        self.stderr.flush()


def terminal_here(environment: Mapping[str, str] = os.environ) -> Terminal:
    """The terminal of this process: its width, whether it shows colours (`NO_COLOR`, `TERM=dumb`) and more than ASCII."""
    is_terminal = sys.stdout.isatty()
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "").replace("_", "")
    wanted = environment.get("COLUMNS", "").isdigit() or is_terminal
    width = shutil.get_terminal_size((WIDTH, 24)).columns if wanted else WIDTH
    return Terminal(
        stdout=sys.stdout,
        stderr=sys.stderr,
        width=min(max(width, 40), WIDEST),
        colour=is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb",
        unicode=encoding.startswith("utf"),
        redraws=sys.stderr.isatty() and environment.get("TERM") != "dumb",
    )
