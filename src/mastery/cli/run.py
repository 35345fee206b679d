"""Run an experiment on this machine: says what it will do, asks what you expect, measures, judges, shows."""

import argparse
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.loading import is_file_name
from mastery.cli.asking import ask_prediction
from mastery.cli.following import Follower
from mastery.cli.listing import note_complaints
from mastery.cli.naming import check_name
from mastery.cli.shelf import note_closed
from mastery.cli.terminal import Terminal
from mastery.errors import UnknownName, Unsatisfied, UsageError
from mastery.lab.document import PredictionRecord, RunDocument
from mastery.lab.experiment import Experiment
from mastery.lab.planning import Mode
from mastery.report import labels
from mastery.report.decide import Requirement, check_requirement
from mastery.report.need import parse_need
from mastery.report.plain_text import printable
from mastery.report.prediction import skipped
from mastery.store.home import database
from mastery.store.records import LoggedEvent
from mastery.store.store import Store
from mastery.workbench import Prepared, Request, carry_out, close_killed_runs, prepare

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
# Whose events these are in this store; an import keeps those of others apart by their origin.
_READER = "reader"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT", help="an experiment's id, an article, or your own FILE.py[::ID]")
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--quick", action="store_true", help="fewer levels, about 45 s: an indication")
    how_long.add_argument("--rigorous", action="store_true", help="minutes rather than seconds: narrow intervals")
    parser.add_argument("--budget", metavar="TIME", help="how long it may take: 90s, 5min, 1h")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the order and the load of an earlier run")
    parser.add_argument("--arms", action="append", default=[], metavar="FACTOR=LEVEL,LEVEL", help="run only these levels")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FACTOR=LEVEL", help="hold a factor at one level, also one of your own"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="COMPONENT=NAME", help="use a server from your targets file"
    )
    parser.add_argument("--scratch", metavar="DATABASE", help="allow an empty database of the target, by repeating its name")
    parser.add_argument("--shared-server", metavar="NAME", help="allow a target that others are using, by repeating its name")
    parser.add_argument("--i-own-this-server", metavar="NAME", help="lift the limits on a target, by repeating its name")
    parser.add_argument("--component", action="append", default=[], metavar="COMPONENT=HOW", help="for example postgres=os")
    parser.add_argument("--on", metavar="disk=FOLDER", help="the folder whose disk is measured")
    parser.add_argument(
        "--require", action="append", default=[], metavar="NEED", help="exit 1 unless it holds: 'sync=every: p99 <= 5 ms'"
    )
    parser.add_argument("--wait", action="store_true", help="wait while another run is measuring")
    parser.add_argument(
        "--predict", action=argparse.BooleanOptionalAction, default=None, help="ask for a prediction (on a terminal: yes)"
    )
    parser.add_argument("--events", action="store_true", help="every event of the run as a line of JSON on stdout")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.events and terminal.is_json:
        raise UsageError("--events and --json both want stdout.", remedy="Give one of them.")
    request = request_of(arguments)
    asks = _asks(arguments, terminal)
    catalogue = load_catalogue()
    note_complaints(catalogue, terminal)
    if is_file_name(request.experiment.partition("::")[0]):
        terminal.note(f"This executes the code of {printable(request.experiment.partition('::')[0])} as you.")
    else:
        check_name(request.experiment, catalogue, terminal)
    prepared = prepare(request, catalogue)
    note_closed(close_killed_runs(catalogue), terminal)
    _check_components(request, prepared.experiment)
    _check_metrics(arguments.require, prepared.experiment)
    speaks = not (terminal.is_json or terminal.quiet or arguments.events)
    if speaks:
        try:
            _announce(prepared, terminal)
        except BrokenPipeError:
            # As later, in the middle of the run: whoever closed our stdout no longer reads, and the run is stored.
            terminal.lose_reader()
    prediction = _prediction(prepared, terminal) if asks else skipped()
    # What is still in our buffer would be in the run process's too, and be written twice.
    terminal.stdout.flush()
    status = carry_out(prepared, prediction, Follower(terminal, time.monotonic, as_events=arguments.events))
    if status == 0 and arguments.require:
        _hold_to(arguments.require, prepared.run, terminal, speaks=speaks)
    return status


def request_of(arguments: argparse.Namespace) -> Request:
    """The request that the words stand for; raises `UsageError` for words that cannot be read."""
    mode = Mode.QUICK if arguments.quick else Mode.RIGOROUS if arguments.rigorous else Mode.NORMAL
    if arguments.seed is not None and not 0 <= arguments.seed < 2**32:
        raise UsageError(f"The seed {arguments.seed} is out of range.", remedy="Use a number from 0 to 4294967295.")
    return Request(
        experiment=arguments.experiment,
        mode=mode,
        budget_s=None if arguments.budget is None else duration_s(arguments.budget),
        seed=arguments.seed,
        targets=_targets(arguments.target),
        allowed=_allowed(arguments),
        choices=dict(_pair(text, "--component", "postgres=os") for text in arguments.component),
        on=_folder(arguments.on),
        arms=_levels(arguments.arms, arguments.set),
        wait=arguments.wait,
    )


def duration_s(text: str) -> float:
    """`90s`, `5min`, `1h` or plain seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text)
    if match is None or match.group(2) not in _SECONDS or float(match.group(1)) <= 0:
        raise UsageError(f"The time {text!r} cannot be read.", remedy="Write it like 90s, 5min or 1h.")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def _levels(arms: Sequence[str], settings: Sequence[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for option, texts, example in (("--arms", arms, "sync=every,never"), ("--set", settings, "record=16384")):
        for text in texts:
            name, levels = _pair(text, option, example)
            words = [word.strip() for word in levels.split(",")]
            if not all(words) or len(set(words)) < len(words):
                raise UsageError(
                    f"{option} {text!r} names an empty level or one twice.", remedy=f"Write it like {option} {example}."
                )
            if option == "--set" and len(words) > 1:
                raise UsageError(f"--set {text!r} names several levels.", remedy="--set holds one level; --arms runs several.")
            if name in chosen:
                raise UsageError(f"The factor {name!r} is set twice.", remedy="Name each factor once.")
            chosen[name] = words
    return chosen


def _allowed(arguments: argparse.Namespace) -> dict[str, str]:
    given = {
        "scratch": arguments.scratch,
        "shared-server": arguments.shared_server,
        "i-own-this-server": arguments.i_own_this_server,
    }
    allowed = {name: repeated for name, repeated in given.items() if repeated is not None}
    if allowed and not arguments.target:
        raise UsageError(
            f"--{next(iter(allowed))} allows something on a target, and none is named.", remedy="Add --target postgres=NAME."
        )
    return allowed


def _targets(texts: Sequence[str]) -> dict[str, str]:
    """Names only: an address with a password on the command line would stand in the history and in every process list."""
    targets: dict[str, str] = {}
    for text in texts:
        component, _, name = text.partition("=")
        if not component or not _NAME.fullmatch(name):
            raise UsageError(
                f"--target {component.split(':')[0][:20]!r} does not name a server of your targets file.",
                remedy="Write --target postgres=NAME, and the address under NAME in the targets file: never on the command line.",
            )
        targets[component] = name
    return targets


def _folder(text: str | None) -> Path | None:
    if text is None:
        return None
    component, folder = _pair(text, "--on", "disk=/mnt/data")
    if component != "disk":
        raise UsageError(f"--on knows no {component!r}.", remedy="Write --on disk=FOLDER.")
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UsageError(f"There is no folder {folder!r}.", remedy="Make it first, or name another one.")
    return path


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise UsageError(f"{option} {text!r} cannot be read.", remedy=f"Write it like {option} {example}.")
    return name.strip(), value.strip()


def _announce(prepared: Prepared, terminal: Terminal) -> None:
    terminal.say(printable(prepared.experiment.question))
    terminal.say()
    for statement in prepared.statements:
        terminal.say(printable(statement), hang=2)
    terminal.stdout.flush()


def _asks(arguments: argparse.Namespace, terminal: Terminal) -> bool:
    """Whether a prediction is asked for: on a terminal only, and never about the user's own server, whose figures they know."""
    can = terminal.is_interactive and not arguments.events and not arguments.target
    if arguments.predict is True and not can:
        raise UsageError("A prediction needs a terminal and a server of ours.", remedy="Leave --predict out.")
    return can and arguments.predict is not False


def _prediction(prepared: Prepared, terminal: Terminal) -> PredictionRecord:
    """What the reader answers, sealed in the log of events before the run."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    record = ask_prediction(prepared.experiment, prepared.layout.arms, terminal, now=now)
    if record.kind == "skipped":
        return record
    event = LoggedEvent(
        id=str(uuid4()),
        at=now,
        actor=_READER,
        kind="predicted",
        body={"run": prepared.run, **record.answers, "sealed": record.sealed},
    )
    with Store.open(database()) as store:
        store.add_event(event)
    return msgspec.structs.replace(record, event=event.id)


def _check_components(request: Request, experiment: Experiment) -> None:
    """A choice for a component that the experiment does not use would be taken for one that was heeded."""
    known = sorted({component.name for component in experiment.resources.values()} | set(experiment.resources))
    for name in (*request.targets, *request.choices):
        if name not in known:
            raise UnknownName("component", name, known, remedy=f"{experiment.id} uses: {', '.join(known) or 'none'}.")


def _check_metrics(requirements: Sequence[str], experiment: Experiment) -> None:
    """A requirement on a metric that does not exist is refused before the run rather than after it."""
    for text in requirements:
        match = re.fullmatch(r"\s*([\w.-]+?)\s*(?:<=|>=|≤|≥).*", text.rpartition(":")[2])
        if match is None:
            raise UsageError(f"The requirement {text!r} cannot be read.", remedy="Write it like --require 'p99 <= 5 ms'.")
        experiment.metric(match.group(1))


def _hold_to(requirements: Sequence[str], run_id: str, terminal: Terminal, *, speaks: bool) -> None:
    """Raises `Unsatisfied` unless every requirement holds in the stored run."""
    with Store.open_to_read(database()) as store:
        document = store.run(run_id)
    checked = [check_requirement(document, parse_need(text, document)) for text in requirements]
    if speaks:
        terminal.write("\nRequired\n")
        for requirement in checked:
            terminal.say(f"  {'holds' if requirement.held else 'fails':<7}{_told(requirement, document)}", hang=9)
    if failed := [requirement for requirement in checked if not requirement.held]:
        # The document of the run is on stdout already; the refusal goes to stderr alone.
        terminal.is_json = False
        remedy = "Choose another arm with `mastery decide`, or loosen the requirement."
        raise Unsatisfied(f"Not satisfied: {'; '.join(_told(each, document) for each in failed)}.", remedy=remedy)


def _told(requirement: Requirement, document: RunDocument) -> str:
    arms = "; ".join(
        f"{labels.named(document, arm.index)}: {why}" for arm, held, why in requirement.arms if held == requirement.held
    )
    return printable(f"{requirement.need.text} ({arms})")
