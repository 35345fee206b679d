"""Words in, exit status out: the one place where errors become messages."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mastery.cli.commands import OPENING, parser_for
from mastery.cli.terminal import Terminal, terminal_here
from mastery.errors import MasteryError, NeedsExtra, UsageError

INTERRUPTED = 130
# The launcher installs the extra whose name stands in the file named by this variable, and starts us once more.
NEEDS_FILE = "MASTERY_NEEDS"
START_AGAIN = 75


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command. Errors of ours are printed with their remedy; those that are bugs keep their traceback."""
    words = list(sys.argv[1:] if words is None else words)
    _open_standard_streams()
    terminal = terminal_here()
    # Known before the words are parsed, so that wrong words are answered in JSON as well.
    terminal.is_json = "--json" in words
    try:
        return _carry_out(words, terminal)
    except NeedsExtra as error:
        return _ask_launcher(error, terminal)
    except MasteryError as error:
        terminal.fail(error)
        return error.exit_status
    except KeyboardInterrupt:
        terminal.note("\nmastery: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`) has what it wanted.
        terminal.lose_reader()
        return 0


def _open_standard_streams() -> None:
    """Gives a program that was started without them (`>&-`) streams that lead nowhere.

    Otherwise the next file to be opened, the store perhaps, would get their numbers, and what is said would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))


def _carry_out(words: list[str], terminal: Terminal) -> int:
    arguments, unknown = parser_for(words).parse_known_args(words)
    terminal.is_json = getattr(arguments, "json", False)
    terminal.quiet = getattr(arguments, "quiet", False)
    terminal.verbose = getattr(arguments, "verbose", 0)
    command = arguments.command or OPENING
    if unknown:
        whole = f"mastery {command.word}".strip()
        raise UsageError(f"`{whole}` does not know {unknown[0]!r}.", remedy=f"See `{whole} --help`.")
    status: int = command.load().run(arguments, terminal)
    # Here, where a reader who went away is still an error that we handle.
    terminal.stdout.flush()
    return status


def _ask_launcher(error: NeedsExtra, terminal: Terminal) -> int:
    """Leaves the extra's name for the launcher where there is one; else the command that installs it is the remedy."""
    place = os.environ.get(NEEDS_FILE)
    if not place:
        terminal.fail(error)
        return error.exit_status
    try:
        Path(place).write_text(error.extra + "\n", encoding="utf-8")
    except OSError:
        terminal.fail(error)
        return error.exit_status
    return START_AGAIN
