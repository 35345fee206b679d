"""See what this machine can run, what is missing and how to get it, and what was left behind."""

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.examination import Examined, Finding, distinct, examine_all
from mastery.cli.listing import note_complaints
from mastery.cli.removal import Leftovers, clean, leftovers, remove, runs_folder
from mastery.cli.surroundings import extras, pip_files, surroundings
from mastery.cli.terminal import Terminal
from mastery.cli.twins import Twins, twins_in
from mastery.components.device import describe
from mastery.components.enclosure import Enclosure, available
from mastery.errors import StoreError, UsageError
from mastery.lab.advice import Advice, advise_on_machine
from mastery.lab.machine import Machine, capture
from mastery.report.numbers import counted
from mastery.report.plain_text import printable
from mastery.store.home import database
from mastery.store.store import Store

_HELD = {
    Enclosure.NAMESPACES: "namespaces: everything a run starts dies with it",
    Enclosure.USER_NAMESPACES: "user namespaces, without root: everything a run starts dies with it",
    Enclosure.TETHER: "no namespaces here: a watcher and the janitor clear what a kill leaves",
}


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The store: where it is, what is in it, what is wrong with it."""

    path: str
    exists: bool
    runs: int = 0
    unfinished: int = 0
    problems: tuple[str, ...] = ()
    twins: Twins | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--clean", action="store_true", help="clear what killed runs left behind")
    what.add_argument("--remove", action="store_true", help="remove everything of ours below the home folders, after saying what")
    parser.add_argument("--yes", action="store_true", help="with --remove: do not ask")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.clean:
        return clean(terminal)
    if arguments.remove:
        if terminal.is_json and not arguments.yes:
            raise UsageError("With --json nobody is asked.", remedy="Add --yes: mastery doctor --remove --yes --json")
        return remove(terminal, agreed=arguments.yes)
    catalogue = load_catalogue()
    note_complaints(catalogue, terminal)
    machine, store, left = capture(), _store_health(), leftovers()
    examined = examine_all(catalogue, runs_folder())
    if terminal.is_json:
        terminal.document(_as_value(machine, store, left, examined, terminal))
    else:
        _show_machine(machine, advise_on_machine(machine), terminal)
        _show_findings(distinct(examined), terminal)
        _show_extras(terminal)
        _show_experiments(examined, terminal)
        _show_store(store, left, terminal)
    return 1 if store.problems or left.any else 0


def _store_health() -> StoreHealth:
    path = database()
    if not path.exists():
        return StoreHealth(str(path), False)
    try:
        with Store.open_to_read(path) as store:
            problems = tuple(store.problems())
            twins = None if problems else twins_in(store)
            return StoreHealth(str(path), True, len(store.runs()), len(store.open_runs()), problems, twins)
    except StoreError as error:
        return StoreHealth(str(path), True, problems=(f"{error.message} {error.remedy}",))


def _as_value(
    machine: Machine, store: StoreHealth, left: Leftovers, examined: tuple[Examined, ...], terminal: Terminal
) -> dict[str, object]:
    return {
        "machine": msgspec.to_builtins(machine),
        "advice": msgspec.to_builtins(advise_on_machine(machine)),
        "enclosure": available().value,
        "disk": describe(runs_folder()).sentence(),
        "surroundings": _surroundings(machine),
        "extras": extras(),
        "experiments": [{**asdict(each), "standing": each.standing} for each in examined],
        "store": asdict(store),
        "leftovers": [str(path) for path in (*left.folders, *left.groups)],
        "terminal": {"encoding": sys.stdout.encoding, "unicode": terminal.unicode, "width": terminal.width},
    }


def _surroundings(machine: Machine) -> list[str]:
    files = pip_files(os.environ, Path.home())
    return surroundings(machine, describe(runs_folder()), environment=os.environ, pip_files=files)


def _show_machine(machine: Machine, advice: tuple[Advice, ...], terminal: Terminal) -> None:
    terminal.write("Machine\n")
    terminal.say(f"  {printable(machine.machine_class)}", hang=4)
    terminal.say(f"  runs are held together by {_HELD[available()]}", hang=4)
    terminal.say(f"  runs write to {printable(str(runs_folder()))}", hang=4)
    terminal.say(f"  which is {printable(describe(runs_folder()).sentence())}", hang=4)
    drawn = "with all signs" if terminal.unicode else "in ASCII"
    terminal.say(f"  terminal: {sys.stdout.encoding}, {terminal.width} columns, drawn {drawn}", hang=4)
    for line in _surroundings(machine):
        terminal.say(f"  {printable(line)}", hang=4)
    for each in advice:
        terminal.say(f"  {printable(each.text)} {printable(each.remedy)}", hang=4)


def _show_extras(terminal: Terminal) -> None:
    known = extras()
    there = [name for name, is_installed in known.items() if is_installed]
    lacking = [name for name, is_installed in known.items() if not is_installed]
    terminal.write("\nExtras\n")
    terminal.say(f"  installed: {', '.join(there) or 'none'}", hang=4)
    if lacking:
        terminal.say(f"  missing: {', '.join(lacking)}. ./mastery adds one on its first need; elsewhere:", hang=4)
        terminal.say(f"    pip install 'backend-mastery[{','.join(lacking)}]'", hang=4)


def _show_findings(findings: list[Finding], terminal: Terminal) -> None:
    for kind, heading in (("component", "Components"), ("reference tool", "Independent tools to check against")):
        chosen = [each for each in findings if each.kind == kind]
        if not chosen:
            continue
        terminal.write(f"\n{heading}\n")
        widest = max(len(each.name) for each in chosen)
        named = ""
        for each in chosen:
            word = "here" if each.is_here else "missing"
            remedy = f". {printable(each.remedy)}" if each.remedy else ""
            # A component of several ways is named once, above them.
            name = "" if each.name == named else printable(each.name)
            named = each.name
            terminal.say(f"  {word:<9}{name:<{widest}}  {printable(each.how)}{remedy}", hang=13 + widest)


def _show_experiments(examined: tuple[Examined, ...], terminal: Terminal) -> None:
    terminal.write("\nExperiments\n")
    for each in examined:
        lacks = f"without {', '.join(printable(finding.name) for finding in each.missing)}" if each.missing else ""
        trouble = f"{printable(each.trouble)} {printable(each.remedy)}" if each.trouble else ""
        terminal.say(f"  {each.standing:<12}{printable(each.experiment)}  {lacks}{trouble}".rstrip(), hang=14)


def _show_store(store: StoreHealth, left: Leftovers, terminal: Terminal) -> None:
    terminal.write("\nStore\n")
    terminal.say(f"  {printable(store.path)}", hang=4)
    if not store.exists:
        terminal.say("  nothing was run yet")
    elif store.problems:
        for problem in store.problems:
            terminal.say(f"  {printable(problem)}", hang=4)
    else:
        unfinished = f", {store.unfinished} not closed" if store.unfinished else ""
        terminal.say(f"  sound, {counted(store.runs, 'run')}{unfinished}")
        if store.twins:
            terminal.say(f"  {store.twins.sentence()}", hang=4)
    if left.any:
        terminal.write("\nLeft behind by killed runs\n")
        for path in (*left.folders, *left.groups):
            terminal.say(f"  {printable(str(path))}", hang=4)
        terminal.say("  Clear it with: mastery doctor --clean")
