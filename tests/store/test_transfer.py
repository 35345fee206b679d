import hashlib
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import a_run, estimate, header_of

from mastery.errors import HostileImport, StoreError, UnknownName
from mastery.lab.document import RunDocument, canonical, content_hash
from mastery.store.intake import DEPTH_LIMIT, LINE_LIMIT_BYTE, judge_line
from mastery.store.records import LoggedEvent, Origin, ReceivedRun
from mastery.store.store import Store
from mastery.store.transfer import Exported, export_lines, export_to, import_from, spill

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EVENT = {"id": "e1", "at": "2026-11-22T10:00:00Z", "actor": "someone", "kind": "predicted", "body": {"answer": 3}}


def run_line(document: RunDocument) -> bytes:
    return b'{"document":' + canonical(document) + b',"kind":"run"}'


def event_line(**changes: Any) -> bytes:
    return json.dumps({"event": {**EVENT, **changes}, "kind": "event"}).encode()


def take(store: Store, *lines: bytes) -> Any:
    return import_from(store, io.BytesIO(b"\n".join(lines) + b"\n"), now=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "mastery.sqlite") as store:
        yield store


def test_export_and_import_into_an_empty_store_give_the_same_runs_byte_for_byte(store: Store, tmp_path: Path) -> None:
    documents = [a_run(f"run-{day}", started=f"2026-11-{day}T10:00:00Z") for day in (10, 12, 11)]
    for document in documents:
        store.close_run(document)
    store.add_event(LoggedEvent("e1", "2026-11-22T10:00:00Z", "me", "predicted", {"factor": 10.0, "note": "größer"}))
    file = io.BytesIO()
    assert export_to(store, file) == Exported(runs=3, events=1)
    file.seek(0)
    with Store.open(tmp_path / "other.sqlite") as other:
        imported = import_from(other, file, now=NOW)
        assert (imported.runs, imported.events, imported.known) == (3, 1, 0)
        for document in documents:
            assert other.document(document.id) == canonical(document)
        assert b"".join(export_lines(other)) == file.getvalue()


def test_imported_runs_and_events_are_labelled_and_never_the_newest_own_ones(store: Store) -> None:
    store.close_run(a_run("mine", started="2026-11-01T10:00:00Z"))
    take(store, run_line(a_run("theirs")), event_line())
    assert {row.id: row.origin for row in store.runs()} == {"mine": Origin.OWN, "theirs": Origin.IMPORTED}
    assert store.find("latest").id == store.find("fsync-cost").id == "mine"
    assert store.find("theirs").origin is Origin.IMPORTED
    assert [(each.actor, each.origin) for each in store.events()] == [("someone", Origin.IMPORTED)]
    assert store.events(actor="me") == []


def test_a_second_member_with_the_hash_hides_nothing(store: Store) -> None:
    document = a_run(noise={"floor": {"z": 1}})
    text = run_line(document)
    smuggled = text.replace(b'"floor":{', b'"floor":{"hash":"' + document.hash.encode() + b'",')
    assert smuggled != text
    with pytest.raises(HostileImport, match="does not match its hash"):
        take(store, smuggled)


def test_an_imported_run_is_found_by_its_own_name_alone(store: Store) -> None:
    take(store, run_line(a_run("fsync-cost-theirs")))
    for name in ("fsync-cost", "latest"):
        with pytest.raises(UnknownName) as refusal:
            store.find(name)
        assert "name it, fsync-cost-theirs" in refusal.value.remedy
    assert store.find("fsync-cost-th").origin is Origin.IMPORTED


def test_a_run_from_before_a_field_existed_keeps_its_text_and_its_hash(store: Store, tmp_path: Path) -> None:
    body = json.loads(canonical(a_run()))
    for each in body["trials"]:
        del each["reference"]
    del body["hash"]
    text = rfc8785.dumps({**body, "hash": "sha256:" + hashlib.sha256(rfc8785.dumps(body)).hexdigest()})
    assert take(store, b'{"document":' + text + b',"kind":"run"}').runs == 1
    assert store.document("run-aaaa") == text
    assert store.run("run-aaaa").trials == a_run().trials
    exported = b"".join(export_lines(store))
    with Store.open(tmp_path / "other.sqlite") as other:
        assert take(other, exported.rstrip()).runs == 1
        assert other.document("run-aaaa") == text


def test_a_figure_that_canonical_json_writes_without_a_point_comes_back(store: Store, tmp_path: Path) -> None:
    document = a_run(noise={"largest": 1e17, "whole": 2.0**53, "below": -3e18})
    store.close_run(document)
    assert store.run().noise == document.noise
    with Store.open(tmp_path / "other.sqlite") as other:
        assert take(other, *(line.rstrip() for line in export_lines(store))).runs == 1
        assert other.document("run-aaaa") == canonical(document)


def test_importing_twice_changes_nothing(store: Store) -> None:
    lines = (run_line(a_run()), event_line())
    assert take(store, *lines).known == 0
    again = take(store, *lines)
    assert (again.runs, again.events, again.known) == (0, 0, 2)
    assert len(store.runs()) == len(store.events()) == 1


def test_an_own_run_that_comes_back_stays_our_own(store: Store) -> None:
    store.close_run(a_run())
    assert take(store, run_line(a_run())).known == 1
    assert store.find("latest").origin is Origin.OWN


def test_only_chosen_runs_are_exported_and_open_ones_never(store: Store) -> None:
    store.open_run(header_of(a_run("still-open")), owner="1 b n 2")
    store.close_run(a_run("one"))
    store.close_run(a_run("two"))
    assert [json.loads(line)["document"]["id"] for line in export_lines(store)] == ["one", "two"]
    assert [json.loads(line)["document"]["id"] for line in export_lines(store, ids={"two"})] == ["two"]


def changed(**changes: Any) -> bytes:
    """A run whose hash was computed again after the change: it can only be refused for what was changed."""
    return run_line(a_run(**changes))


def raw(change: Any) -> bytes:
    """A run whose JSON was edited by hand."""
    body = json.loads(canonical(a_run()))
    change(body)
    return json.dumps({"document": body, "kind": "run"}).encode()


def nested(depth: int) -> bytes:
    return event_line(body={"x": 0}).replace(b'{"x": 0}', b'{"x":' * depth + b"0" + b"}" * depth)


HOSTILE = {
    "an empty line": (b"", "not JSON"),
    "not JSON": (b"hello", "not JSON"),
    "a truncated line": (run_line(a_run())[:-40], "not JSON"),
    "two values on one line": (event_line() + event_line(), "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + event_line(), "byte order mark"),
    "UTF-16": (event_line().decode().encode("utf-16"), "not UTF-8"),
    "an overlong line": (b'{"kind":"' + b"x" * (LINE_LIMIT_BYTE + 10), "longer than 16 MiB"),
    "a level too deep": (nested(DEPTH_LIMIT - 1), "deeper than 64"),
    "a depth bomb": (b"[" * 1_000_000, "deeper than 64"),
    "a number of digits without end": (event_line(body={"x": 0}).replace(b": 0", b": " + b"9" * 10_000), "not JSON|digits"),
    "an integer beyond doubles": (event_line(body={"x": 2**53 + 1}), "16 digits"),
    "a float beyond doubles": (event_line(body={"x": 0}).replace(b": 0", b": 1e999"), "too large"),
    "NaN": (event_line(body={"x": float("nan")}), "holds NaN"),
    "Infinity": (event_line(body={"x": float("-inf")}), "holds -Infinity"),
    "a lone surrogate": (event_line(body={"x": "\ud800"}), r"U\+D800"),
    "an escape sequence": (event_line(body={"x": "\x1b]0;owned\x07"}), r"U\+001B"),
    "an escape sequence in a key": (event_line(body={"\x1b[2J": 1}), r"U\+001B"),
    "an eight-bit escape": (event_line(body={"x": "\x9b2J"}), r"U\+009B"),
    "a reversed reading order": (event_line(body={"x": "safe\u202eexe"}), r"U\+202E"),
    "a duplicate key": (b'{"kind":"event","kind":"run","event":{}}', "stands twice"),
    "a duplicate key deep inside": (event_line(body={"x": 0}).replace(b'"x": 0', b'"x": 0, "x": 1'), "stands twice"),
    "another kind": (b'{"kind":"code","code":"import os"}', "neither"),
    "an envelope with more in it": (b'{"kind":"event","event":{},"also":1}', "neither"),
    "an array": (b"[]", "neither"),
    "an event without a body": (b'{"kind":"event","event":{"id":"e"}}', "breaks the schema"),
    "an event with an unknown field": (event_line(admin=True), "unknown field `admin`"),
    "an event of the wrong type": (event_line(body=[]), "breaks the schema"),
    "an event with a path as id": (event_line(id="../../etc/passwd"), "event id"),
    "an event of a nameless actor": (event_line(actor=""), "no names"),
    "an event whose kind is no name": (event_line(kind="Drop Table"), "no names"),
    "an event from the future": (event_line(at="2026-11-22T12:05:01Z"), "future"),
    "an event of local time": (event_line(at="2026-11-22T10:00:00+02:00"), "not a time in UTC"),
    "an event of no time": (event_line(at="yesterday"), "not a time in UTC"),
    "a run of another schema": (changed(schema="mastery.run/2"), "schema 'mastery.run/2'"),
    "a run with an unknown field": (raw(lambda body: body.update(verdict="good")), "unknown field `verdict`"),
    "a run without trials": (raw(lambda body: body.pop("trials")), "missing required field `trials`"),
    "a run with a wrong hash": (raw(lambda body: body.update(seed=8)), "does not match its hash"),
    "a run with a trial made faster": (raw(lambda body: body["trials"][0]["metrics"].update(p50=1e-9)), "does not match its hash"),
    "a run with a path as id": (changed(id="../../x"), "the run id"),
    "a run from the future": (changed(finished="2027-01-01T00:00:00Z"), "future"),
    "a run that ends before it begins": (changed(finished="2026-11-22T09:59:00Z"), "before it started"),
    "a run with an arm of nowhere": (changed(estimates=[estimate(7, "p50", 1.0)]), "arm 7"),
    "a run with a metric of nowhere": (changed(estimates=[estimate(0, "fame", 1.0)]), "metric 'fame'"),
    "a run without a baseline": (changed(arms=a_run().arms[1:], trials=[], estimates=[]), "baseline"),
    "a run without arms": (changed(arms=[]), "baseline"),
    "a run that is a text": (b'{"kind":"run","document":"{}"}', "schema 'None'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_refused_by_its_number_and_nothing_is_imported(name: str, store: Store) -> None:
    line, reason = HOSTILE[name]
    with pytest.raises(HostileImport, match=reason) as refusal:
        take(store, run_line(a_run("good")), event_line(id="good"), line)
    assert refusal.value.message.startswith("Line 3: ")
    assert "Nothing was imported" in refusal.value.remedy
    assert "\x1b" not in refusal.value.message
    assert store.runs() == []
    assert store.events() == []
    # The store is not left locked or half-prepared by the refusal.
    assert take(store, event_line()).events == 1


def test_the_deepest_allowed_nesting_is_taken(store: Store) -> None:
    assert take(store, nested(DEPTH_LIMIT - 3)).events == 1


def test_a_clock_that_is_a_little_ahead_is_tolerated(store: Store) -> None:
    assert take(store, event_line(at="2026-11-22T12:04:59Z")).events == 1


def test_an_id_that_stands_for_another_run_is_refused(store: Store) -> None:
    store.close_run(a_run())
    with pytest.raises(HostileImport, match="Line 2: the id of run 'run-aaaa' already stands"):
        take(store, event_line(), run_line(a_run(seed=8)))
    assert store.events() == []
    assert store.run() == a_run()


def test_an_id_that_stands_for_a_run_still_open_is_refused(store: Store) -> None:
    store.open_run(header_of(a_run()), owner="1 b n 2")
    with pytest.raises(HostileImport, match="already stands"):
        take(store, run_line(a_run()))
    assert len(store.open_runs()) == 1


def test_an_event_that_differs_from_the_one_of_its_id_is_refused(store: Store) -> None:
    take(store, event_line())
    with pytest.raises(HostileImport, match="Line 1: the id of event 'e1'"):
        take(store, event_line(actor="somebody else"))


def test_one_id_for_two_runs_within_a_file_is_refused_and_a_repetition_is_not(store: Store) -> None:
    with pytest.raises(HostileImport, match="Line 2: the id of run"):
        take(store, run_line(a_run()), run_line(a_run(seed=8)))
    assert store.runs() == []
    assert take(store, run_line(a_run()), run_line(a_run())).runs == 1


def test_a_file_without_a_last_line_feed_and_an_empty_file_are_taken(store: Store) -> None:
    assert import_from(store, io.BytesIO(event_line()), now=NOW).events == 1
    assert import_from(store, io.BytesIO(b""), now=NOW).events == 0


def test_a_line_without_end_is_never_read_whole(store: Store) -> None:
    class Endless(io.RawIOBase):
        delivered = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:] = b"x" * len(buffer)
            Endless.delivered += len(buffer)
            return len(buffer)

    with pytest.raises(HostileImport, match="Line 1: it is longer than 16 MiB"):
        import_from(store, io.BufferedReader(Endless()), now=NOW)
    assert Endless.delivered < 2 * LINE_LIMIT_BYTE


def test_a_spilled_run_can_be_imported_and_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    path = spill(a_run(), [first, second])
    assert path.parent == second, "the first folder does not exist"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("rb") as file:
        assert import_from(store, file, now=NOW).runs == 1
    assert store.document("run-aaaa") == canonical(a_run())
    with pytest.raises(StoreError, match="File exists"):
        spill(a_run(), [second])


TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=TURNING)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(noise=st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), seed=st.integers(0, 2**53 - 1))
def test_whatever_a_run_holds_its_line_gives_the_same_bytes(noise: dict[str, Any], seed: int) -> None:
    document = a_run(noise=noise, seed=seed)
    judged = judge_line(run_line(document), now=NOW)
    assert isinstance(judged, ReceivedRun)
    assert judged.text == canonical(document)


@settings(max_examples=300, deadline=None)
@given(line=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_line_of_rubbish_does_anything_but_be_refused(line: bytes) -> None:
    with pytest.raises(HostileImport):
        judge_line(line, now=NOW)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_run_with_one_part_exchanged_is_refused_or_is_a_run(data: st.DataObject) -> None:
    body = json.loads(canonical(a_run()))
    key = data.draw(st.sampled_from(sorted(body)))
    body[key] = data.draw(json_values)
    # The hash is computed again, so that it is not the only thing that protects us.
    with suppress(msgspec.ValidationError, ValueError):
        body["hash"] = content_hash(msgspec.convert({**body, "hash": ""}, type=RunDocument))
    try:
        judged = judge_line(json.dumps({"kind": "run", "document": body}).encode(), now=NOW)
    except HostileImport:
        return
    assert isinstance(judged, ReceivedRun)
    taken = judged.document
    assert taken.baseline in taken.arms
    assert taken.primary in taken.metrics
    assert all(taken.arm(each.arm) and taken.metric(each.metric) for each in taken.estimates)
