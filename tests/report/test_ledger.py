from stored_runs import MACHINE, a_run

from mastery.lab.document import CitedRecord, ClaimRecord, RunDocument
from mastery.report.ledger import Ledger, LedgerEntry, claims_ledger
from mastery.report.sourced import Provenance, SourcedRun

HERE = "0123456789abcdef"


def run_on(
    day: int, standing: str, *, id: str = "group-commit-pays", text: str = "Group commit pays.", **changes: object
) -> RunDocument:
    claim = ClaimRecord(id=id, text=text, standing=standing, value=4.0)  # type: ignore[arg-type]
    return a_run(f"run-{day}-{id}", started=f"2026-11-{day:02}T10:00:00Z", claims=[claim], **changes)


def ledger_of(*documents: RunDocument, provenance: Provenance = Provenance.OWN) -> Ledger:
    return claims_ledger([SourcedRun(document, provenance) for document in documents], here=HERE)


def only(ledger: Ledger) -> LedgerEntry:
    (entry,) = ledger.entries
    return entry


def standing_of(ledger: Ledger) -> str | None:
    newest = only(ledger).newest
    return newest.claim.standing if newest else None


def test_the_newest_run_says_how_a_claim_stands_in_whatever_order_runs_come() -> None:
    runs = [run_on(1, "holds"), run_on(3, "fails"), run_on(2, "inconclusive")]
    for order in (runs, runs[::-1], [runs[1], runs[0], runs[2]]):
        ledger = ledger_of(*order)
        assert standing_of(ledger) == "fails"
        assert [each.claim.standing for each in only(ledger).history] == ["fails", "inconclusive", "holds"]
        assert only(ledger).changed


def test_a_run_that_left_the_arms_out_takes_nothing_back() -> None:
    assert standing_of(ledger_of(run_on(1, "holds"), run_on(2, "not_run"))) == "holds"
    assert standing_of(ledger_of(run_on(2, "not_run"))) == "not_run"


def test_what_other_machines_and_other_people_found_is_history_and_no_standing() -> None:
    elsewhere = run_on(5, "fails", machine={**MACHINE, "fingerprint": "another"})
    ledger = claims_ledger(
        [
            SourcedRun(elsewhere),
            SourcedRun(run_on(6, "fails", experiment="fsync-cost"), Provenance.IMPORTED),
            SourcedRun(run_on(1, "holds")),
        ],
        here=HERE,
    )
    assert standing_of(ledger) == "holds"
    assert [(each.provenance.value, each.is_here) for each in only(ledger).history] == [
        ("imported", False),
        ("own", False),
        ("own", True),
    ]
    assert not only(ledger).changed
    assert standing_of(ledger_of(elsewhere)) is None


def test_a_machine_without_a_fingerprint_is_nobodys() -> None:
    nameless = run_on(1, "holds", machine={})
    assert claims_ledger([SourcedRun(nameless)], here="").entries[0].newest is None


def test_a_reworded_claim_does_not_inherit_what_its_older_wording_showed() -> None:
    older, newer = run_on(1, "holds", text="It pays at least twice."), run_on(2, "not_run", text="It pays at least three times.")
    entry = only(ledger_of(older, newer))
    assert entry.text == "It pays at least three times."
    assert entry.newest is not None
    assert entry.newest.claim.standing == "not_run"
    assert [each.claim.text for each in entry.reworded] == ["It pays at least twice."]


def test_a_stranger_cannot_reword_our_claim() -> None:
    strange = SourcedRun(run_on(9, "fails", text="Never trust it."), Provenance.IMPORTED)
    entry = only(claims_ledger([strange, SourcedRun(run_on(1, "holds"))], here=HERE))
    assert entry.text == "Group commit pays."
    assert entry.newest is not None
    assert entry.newest.claim.standing == "holds"


def test_withdrawn_claims_come_last_and_keep_their_history() -> None:
    ledger = ledger_of(run_on(1, "holds", id="a-withdrawn-one"), run_on(2, "holds", id="still-declared"))
    assert [entry.id for entry in ledger.entries] == ["still-declared", "a-withdrawn-one"]


def test_cited_statements_carry_source_and_version_from_the_newest_run() -> None:
    cited = [
        CitedRecord(id="sqlite-serial", text="SQLite is serializable.", source="SQLite docs", url="https://sqlite.org", version=v)
        for v in ("3.40", "3.50")
    ]
    older, newer = (run_on(day, "holds", cited=[each]) for day, each in enumerate(cited, 1))
    (entry,) = ledger_of(newer, older).cited
    assert (entry.experiment, entry.article, entry.cited.version) == ("fsync-cost", "file_io_durability", "3.50")


def test_no_runs_make_an_empty_ledger() -> None:
    assert ledger_of() == Ledger((), ())
