"""Judges one line of a file of strangers: a run or an event by the rules of import, or `HostileImport` with the reason.

Pure: bytes and the time in, a value out. A matching hash shows integrity, not origin.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec

from mastery.errors import HostileImport
from mastery.lab.document import SCHEMA, EffectRecord, Estimate, GuardrailRecord, ReferenceRecord, RunDocument
from mastery.lab.integrity import canonical_text, is_intact
from mastery.lab.printable import first_unprintable
from mastery.store.records import LoggedEvent, Origin, ReceivedRun

LINE_LIMIT_BYTE = 16 * 2**20
DEPTH_LIMIT = 64
CLOCK_TOLERANCE = timedelta(minutes=5)
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ACTOR = re.compile(r"[\w][\w .@+-]{0,63}")


class _EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    at: str
    actor: str
    kind: str
    body: dict[str, Any]


def judge_line(line: bytes, *, now: datetime) -> ReceivedRun | LoggedEvent:
    """The run or event of one line (without its line feed); raises `HostileImport`. `now` is an aware time."""
    if len(line) > LINE_LIMIT_BYTE:
        raise _refusal(f"it is longer than {LINE_LIMIT_BYTE // 2**20} MiB")
    envelope = _parse(line)
    _walk(envelope, depth=1)
    match envelope:
        case {"kind": "run", "document": document} if len(envelope) == 2:
            return _run(document, now)
        case {"kind": "event", "event": event} if len(envelope) == 2:
            return _event(event, now)
        case _:
            raise _refusal('it is neither {"kind": "run", "document": ...} nor {"kind": "event", "event": ...}')


def _parse(line: bytes) -> Any:
    if line.startswith(b"\xef\xbb\xbf"):
        raise _refusal("it begins with a byte order mark")
    try:
        return json.loads(line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _refusal(f"it is not UTF-8 (byte {error.start})") from error
    except RecursionError:
        raise _refusal(f"it is nested deeper than {DEPTH_LIMIT} levels") from None
    except ValueError as error:
        # Also an integer of thousands of digits, which Python refuses to convert.
        raise _refusal(f"it is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers may take different ones of two equal keys: what was checked would not be what is used.
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refusal(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise _refusal(f"it holds {word}, which is not a number of JSON")


def _walk(value: Any, *, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise _refusal(f"it is nested deeper than {DEPTH_LIMIT} levels")
    match value:
        case str():
            if (found := first_unprintable(value)) is not None:
                raise _refusal(f"a text holds the control character {found}")
        case bool() | None:
            pass
        case int() if not _fits_a_double(value):
            raise _refusal(f"it holds an integer of {len(str(value))} digits that is not how a double is written")
        case float() if value in (float("inf"), float("-inf")):
            raise _refusal("it holds a number too large for a double")
        case dict():
            _walk_all(value, depth)
            _walk_all(value.values(), depth)
        case list():
            _walk_all(value, depth)


def _fits_a_double(value: int) -> bool:
    # Canonical JSON writes the double 1e17 without a point; any other integer of that size is read differently elsewhere.
    return abs(value) < 2**53 or (abs(value) < 10**21 and canonical_text(value) == str(value).encode())


def _walk_all(values: Iterable[Any], depth: int) -> None:
    for each in values:
        _walk(each, depth=depth + 1)


def _run(body: Any, now: datetime) -> ReceivedRun:
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema != SCHEMA:
        raise _refusal(f"its document has the schema {str(schema)[:60]!r}; this version reads {SCHEMA!r}")
    try:
        document = msgspec.convert(body, type=RunDocument)
    except msgspec.ValidationError as error:
        raise _refusal(f"its document breaks the schema {SCHEMA}: {error}") from error
    if not _IDENTIFIER.fullmatch(document.id):
        raise _refusal(f"the run id {document.id[:80]!r} is not made of letters, digits, '.', '_' and '-'")
    try:
        text = canonical_text(body)
    except ValueError as error:
        raise _refusal(f"its document has no canonical form: {error}") from error
    if not is_intact(text, document.hash):
        raise _refusal(f"run {document.id!r} does not match its hash: it was changed after it was closed")
    started, finished = _time(document.started, now), _time(document.finished, now)
    if finished < started:
        raise _refusal(f"run {document.id!r} finished before it started")
    for complaint in inconsistencies(document):
        raise _refusal(f"run {document.id!r} {complaint}")
    return ReceivedRun(document, text)


def inconsistencies(document: RunDocument) -> list[str]:
    """References inside a document that lead nowhere; with one of them tables and plots of it would fail."""
    arms = [arm.index for arm in document.arms]
    metrics = [metric.name for metric in document.metrics]
    found: list[str] = []
    if len(set(arms)) != len(arms) or len(set(metrics)) != len(metrics):
        found.append("names an arm or a metric twice")
    if sum(arm.baseline for arm in document.arms) != 1:
        found.append("does not have exactly one baseline")
    if not metrics:
        found.append("has no metric")
    judged: list[Estimate | GuardrailRecord | EffectRecord | ReferenceRecord]
    judged = [*document.estimates, *document.guardrails, *document.effects, *document.references]
    frontier = document.frontier
    used_arms = (
        {each.arm for each in judged} | {trial.arm for trial in document.trials} | {effect.over for effect in document.effects}
    )
    used_arms |= set(frontier.arms) if frontier else set()
    used_metrics = {each.metric for each in judged} | (set(frontier.metrics) if frontier else set())
    found += [f"speaks of arm {arm}, which it does not have" for arm in sorted(used_arms - set(arms))]
    found += [f"speaks of the metric {name!r}, which it does not have" for name in sorted(used_metrics - set(metrics))]
    return found


def _event(body: Any, now: datetime) -> LoggedEvent:
    try:
        line = msgspec.convert(body, type=_EventLine)
    except msgspec.ValidationError as error:
        raise _refusal(f"its event breaks the schema: {error}") from error
    if not _IDENTIFIER.fullmatch(line.id):
        raise _refusal(f"the event id {line.id[:80]!r} is not made of letters, digits, '.', '_' and '-'")
    if not _KIND.fullmatch(line.kind) or not _ACTOR.fullmatch(line.actor):
        raise _refusal(
            f"the event {line.id!r} has the kind {line.kind[:40]!r} and the actor {line.actor[:80]!r}, which are no names"
        )
    _time(line.at, now)
    return LoggedEvent(line.id, line.at, line.actor, line.kind, line.body, Origin.IMPORTED)


def _time(text: str, now: datetime) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        is_utc, is_future = time.utcoffset() == timedelta(0), time.replace(tzinfo=UTC) > now + CLOCK_TOLERANCE
    except (ValueError, OverflowError):
        is_utc = is_future = False
    if not is_utc:
        raise _refusal(f"{text[:60]!r} is not a time in UTC (2026-01-31T12:00:00Z)")
    if is_future:
        raise _refusal(f"the time {text} lies in the future of this machine's clock")
    return time


def _refusal(reason: str) -> HostileImport:
    return HostileImport(reason, remedy="Nothing was imported. Ask for the file as `mastery export` wrote it.")
