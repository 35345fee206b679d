"""The commands and their parser; the module of a command is imported only when the command is named."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn, Protocol

from mastery.cli.terminal import Terminal
from mastery.errors import UnknownName, UsageError


class CommandModule(Protocol):
    """What every module of a command offers."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    @staticmethod
    def run(arguments: argparse.Namespace, terminal: Terminal) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line, the module behind it, and the line that `--help` shows."""

    word: str
    module: str
    summary: str

    def load(self) -> CommandModule:
        module: CommandModule = importlib.import_module(f"mastery.cli.{self.module}")  # type: ignore[assignment]
        return module


COMMANDS = (
    Command("list", "listing", "articles and their experiments"),
    Command("find", "find", "from a setting or a symptom to the experiments that measure it"),
    Command("run", "run", "run an experiment on this machine"),
    Command("results", "results", "what a run found: table, plot, claims; as page, Markdown, JSON, picture"),
    Command("compare", "compare", "two runs of one experiment side by side"),
    Command("claims", "claims", "how the claims of the articles stand on this machine"),
    Command("decide", "decide", "which arm meets your needs, how surely, and what would flip it"),
    Command("cite", "cite", "a sentence, BibTeX, and a bundle that recomputes every figure"),
    Command("doctor", "doctor", "what this machine can run, what is missing, what was left behind"),
    Command("export", "export", "all runs and events as lines of JSON"),
    Command("import", "importing", "take runs and events of an export, labelled as imported"),
    Command("completion", "completion", "a script that completes these commands in your shell"),
)

# What `mastery` without a word does.
OPENING = Command("", "opening", "what is next")

EXIT_STATUS = (
    "exit status: 0 done, 1 a requirement does not hold, 2 wrong words, 3 could not be done, 4 this machine cannot, 130 interrupted"
)


class Parser(argparse.ArgumentParser):
    """A parser that raises our errors instead of printing and leaving by itself."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", remedy=f"See `{self.prog} --help`.")


def parser_for(words: Sequence[str]) -> Parser:
    """The parser for these words: in full for the command among them, by name only for the others."""
    named = next((word for word in words if not word.startswith("-")), None)
    if named is not None and named not in [command.word for command in COMMANDS]:
        known = [command.word for command in COMMANDS]
        raise UnknownName("command", named, known, remedy=f"Commands: {', '.join(known)}.")
    return _parser(lambda command: command.word == named)


def whole_parser() -> Parser:
    """The parser with every command in full, for completion and for the documentation."""
    return _parser(lambda _: True)


def _parser(wanted: Callable[[Command], bool]) -> Parser:
    common = _common_options()
    parser = Parser(
        prog="mastery",
        description="A laboratory for backend trade-offs: read, predict, measure on your own machine, decide.",
        epilog=EXIT_STATUS,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"mastery {_version()}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        if wanted(command):
            module = command.load()
            own = commands.add_parser(command.word, help=command.summary, description=module.__doc__, parents=[common])
            module.add_arguments(own)
        else:
            own = commands.add_parser(command.word, help=command.summary)
        own.set_defaults(command=command)
    return parser


def _common_options() -> Parser:
    """Options that may stand before or after the command."""
    common = Parser(add_help=False)
    suppressed = argparse.SUPPRESS
    common.add_argument("--json", action="store_true", default=suppressed, help="exactly one JSON document on stdout")
    common.add_argument("-q", "--quiet", action="store_true", default=suppressed, help="no notes on stderr")
    common.add_argument("-v", "--verbose", action="count", default=suppressed, help="more notes on stderr")
    return common


def _version() -> str:
    try:
        return version("backend-mastery")
    except PackageNotFoundError:
        return "(not installed)"
