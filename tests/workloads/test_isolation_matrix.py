"""The cells of the anomaly matrix and the claims on them: a judge that does not look at the history is caught by them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest

from mastery.articles.isolation_levels.anomaly_matrix import LETS_THROUGH, anomaly_matrix
from mastery.components.postgres_session import address_in
from mastery.lab.anomalies import CASES, Anomaly, case_of
from mastery.lab.claim import Quantity, Relation
from mastery.lab.document import TrialRecord
from mastery.lab.evidence import Evidence
from mastery.lab.history.transactions import Finding, Judgement, find_anomalies
from mastery.lab.history.transcript import Transcript
from mastery.lab.interleaving import choose_orders
from mastery.lab.plan import Header, Plan
from mastery.lab.planning import Mode
from mastery.lab.standing import standing
from mastery.workloads.isolation_matrix import NAMES, Cell, Judge, level_in_effect, truth_table, try_on_postgres, try_orders
from mastery.workloads.memory_store import Isolation, MemoryStore

# Stores of ours that keep what PostgreSQL's levels keep; without isolation every anomaly shows.
STORES: Mapping[str, Isolation] = {"repeatable read": Isolation.SNAPSHOT, "serializable": Isolation.SERIAL}
ALL = frozenset(Anomaly)


def cell(name: str, isolation: Isolation, judge: Judge = find_anomalies) -> Cell:
    case, store = case_of(name), MemoryStore(isolation)
    return try_orders(case, choose_orders(case.lengths, at_most=70, seed=3), lambda: store, judge=judge)


def standings(judge: Judge) -> dict[str, str]:
    """How the claims of the article stand after a run of two levels, each history judged by `judge`."""
    arms = anomaly_matrix.arms()
    header = Header(run="r", article="", started="", package="0")
    ran = tuple(arm for arm in arms if arm.level in STORES)
    evidence = Evidence(Plan(anomaly_matrix, header, Mode.NORMAL, 7, 1.0, 60.0, (arms[0], *ran)))
    for arm in ran:
        found = cell(str(arm.case), STORES[str(arm.level)], judge)
        evidence.add(TrialRecord(block=0, arm=arm.index, status="ok", metrics=found.metrics()), None)
    claims = [claim for claim in anomaly_matrix.claims if claim.comparison.at.get("level") in STORES]
    return {claim.id: standing(claim, evidence, []).standing for claim in claims}


def test_with_the_real_judge_every_claim_on_stores_that_keep_their_promise_holds() -> None:
    found = standings(find_anomalies)
    assert len(found) >= 2 * len(NAMES)
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize(
    "verdict",
    [
        Finding(Judgement.CLEAN),
        Finding(Judgement.UNKNOWN, why=("cannot tell",)),
        Finding(Judgement.ANOMALOUS, ALL, tuple(ALL)),
        *(Finding(Judgement.ANOMALOUS, frozenset({anomaly}), (anomaly.value,)) for anomaly in Anomaly),
    ],
    ids=lambda finding: f"{finding.judgement} {len(finding.anomalies)}",
)
def test_a_judge_that_always_says_the_same_is_caught(verdict: Finding) -> None:
    found = standings(lambda transcript: verdict)
    assert set(found.values()) != {"holds"}
    # Who cannot tell refutes nothing and proves nothing.
    assert set(found.values()) == {"not_run"} if verdict.judgement is Judgement.UNKNOWN else "fails" in found.values()


def test_an_anomaly_that_was_seen_counts_although_other_orders_could_not_be_judged() -> None:
    assert Cell(tried=5, total=9, anomalies=0, unknown=1, aborted=2).metrics() == {"unknown": 1, "aborted": 2, "tried": 5}
    assert Cell(tried=5, total=9, anomalies=3, unknown=1, aborted=2).metrics()["anomalies"] == 3
    assert Cell(tried=5, total=9, anomalies=0, unknown=0, aborted=2).metrics()["anomalies"] == 0


def test_without_isolation_every_case_shows_its_own_anomaly_and_when_serial_none() -> None:
    for name in NAMES:
        loose, strict = cell(name, Isolation.NONE), cell(name, Isolation.SERIAL)
        assert loose.anomalies > 0, name
        assert loose.example and name in loose.example
        assert (strict.anomalies, strict.others, strict.unknown, strict.example) == (0, {}, 0, ""), name


def test_a_cell_counts_each_order_once_and_says_how_many_there_are() -> None:
    judged: list[Transcript] = []

    def judge(transcript: Transcript) -> Finding:
        judged.append(transcript)
        verdicts: list[Callable[[], Finding]] = [
            lambda: Finding(Judgement.CLEAN),
            lambda: Finding(Judgement.UNKNOWN),
            lambda: Finding(Judgement.ANOMALOUS, frozenset({Anomaly.P4, Anomaly.G2}), ("P4: lost", "G2: skewed")),
        ]
        return verdicts[len(judged) % 3]()

    case, store = case_of("P4"), MemoryStore(Isolation.NONE)
    orders = choose_orders(case.lengths, at_most=12, seed=1)
    found = try_orders(case, orders, lambda: store, judge=judge)
    assert (found.tried, found.total, len(judged)) == (12, orders.total, 12)
    assert (found.anomalies, found.unknown, found.others) == (4, 4, {"G2": 4})
    assert found.example.endswith("| P4: lost")


def test_the_truth_table_has_a_claim_for_each_cell_that_says_what_is_expected_of_it() -> None:
    claims = truth_table({"low": ["P4"], "high": []}, source="us; written 2026-01-01")
    cells = [claim for claim in claims if claim.comparison.metric == "anomalies"]
    assert len(cells) == 2 * len(CASES)
    (through,) = [claim for claim in cells if claim.comparison.relation is Relation.AT_LEAST]
    assert (through.id, through.comparison.quantity, through.comparison.threshold) == ("low-p4", Quantity.LEAST, 1)
    prevented = [claim for claim in cells if claim is not through]
    assert all((c.comparison.quantity, c.comparison.threshold) == (Quantity.WORST, 0) for c in prevented)
    assert {(c.comparison.at["level"], c.comparison.at["case"]) for c in cells} == {
        (level, name) for level in ("low", "high") for name in NAMES
    }


def test_a_cell_on_a_real_server_is_tried_when_it_is_called_and_proves_its_level(postgres_conninfo: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgres_conninfo, autocommit=True) as connection:
        connection.execute("create schema cell_test")
        address = address_in(postgres_conninfo, "cell_test")
        try:
            for level in LETS_THROUGH:
                found = try_on_postgres("P4", level, address, at_most=20)(Random(10))
                assert found.tried == 20
                assert (found.anomalies > 0) is ("P4" in LETS_THROUGH[level]), level
                assert level_in_effect(address, level) == level
        finally:
            connection.execute("drop schema cell_test cascade")
