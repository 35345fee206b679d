"""Print a script that completes the commands in your shell: `mastery completion bash > FILE`, then source FILE."""

import argparse

from mastery.cli import commands
from mastery.cli.terminal import Terminal

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="your shell")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    # Imported here: only this command needs it.
    import shtab

    script = shtab.complete(commands.whole_parser(), shell=arguments.shell)
    if terminal.is_json:
        terminal.document({"shell": arguments.shell, "script": script})
    else:
        terminal.write(script + "\n")
    return 0
