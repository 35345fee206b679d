"""The run document: its published schema, its canonical form, and what a strict reader refuses."""

import json
import math
from pathlib import Path

import msgspec
import pytest
from test_run_loop import plan_of

from mastery.errors import HostileImport
from mastery.lab.document import SCHEMA, TrialRecord, canonical, content_hash, decode, json_schema, plain, sealed
from mastery.lab.plan import Plan
from mastery.lab.run import document_so_far

PUBLISHED = Path(__file__).parents[2] / "docs" / "mastery.run-1.schema.json"


@pytest.fixture
def plan() -> Plan:
    return plan_of()


def test_the_published_schema_is_the_one_of_the_types() -> None:
    assert json.loads(PUBLISHED.read_text()) == json_schema(), "write it anew from mastery.lab.document.json_schema"


def test_a_document_is_valid_by_its_published_schema(plan: Plan) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    trials = [TrialRecord(block=0, arm=0, status="ok", metrics={"seconds_each": 0.5}, load={"loop": "closed"})]
    document = document_so_far(plan, [(trial, None) for trial in trials], finished="2026-01-01T00:00:00Z")
    jsonschema.validate(json.loads(canonical(document)), json.loads(PUBLISHED.read_text()))


def test_the_hash_covers_everything_but_itself(plan: Plan) -> None:
    document = document_so_far(plan, [], finished="2026-01-01T00:00:00Z")
    assert document.hash == content_hash(msgspec.structs.replace(document, hash="something else"))
    assert document.hash != content_hash(msgspec.structs.replace(document, finished="2026-01-01T00:00:01Z"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "mastery.run/2"}, "schema"),
        ({"seed": 8}, "hash"),
        ({"surprise": 1}, "surprise"),
        ({"mode": "careless"}, "mode"),
        ({"trials": [{"block": -1, "arm": 0, "status": "ok"}]}, "block"),
    ],
)
def test_a_document_that_was_changed_is_refused_with_the_reason(plan: Plan, change: dict[str, object], says: str) -> None:
    body = json.loads(canonical(document_so_far(plan, [], finished="2026-01-01T00:00:00Z")))
    with pytest.raises(HostileImport, match=says) as refused:
        decode(json.dumps({**body, **change}).encode())
    assert refused.value.remedy


def test_a_number_that_json_does_not_have_never_gets_into_a_document() -> None:
    with pytest.raises(ValueError, match="infinite"):
        plain({"metrics": {"p50": math.inf}})


def test_the_schema_names_itself(plan: Plan) -> None:
    document = sealed(document_so_far(plan, [], finished="2026-01-01T00:00:00Z"))
    assert document.schema == SCHEMA == "mastery.run/1"


def test_orders_beyond_the_whole_numbers_of_json_survive_their_document(plan: Plan) -> None:
    notes = {"orders_tried": 20_000, "orders_total": float(2**143)}
    document = document_so_far(
        plan, [(TrialRecord(block=0, arm=0, status="ok", notes=notes), None)], finished="2026-01-01T00:00:00Z"
    )
    assert list(document.orders_tried.values()) == [[20_000, float(2**143)]]
    assert decode(canonical(document)).orders_tried == document.orders_tried
