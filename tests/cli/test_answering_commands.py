"""What compare, claims and decide say of stored runs."""

import msgspec
import pytest
from sample_run import sample_run

from mastery.lab.document import Estimate
from mastery.store.home import database
from mastery.store.store import Store


def store_runs(count: int, *, slower: float = 1.0) -> list[str]:
    """Runs a minute apart, nearly alike; the last one is slower by a factor."""
    ids = []
    with Store.open(database()) as store:
        for number in range(count):
            factor = (1 + 0.01 * number) * (slower if number == count - 1 else 1.0)
            figures: list[Estimate] = [msgspec.structs.replace(each, value=each.value * factor) for each in sample_run().estimates]
            ids.append(f"run-{number}")
            store.close_run(sample_run(id=ids[-1], started=f"2026-11-22T10:{number:02}:00Z", estimates=figures))
    return ids


def test_two_runs_alone_get_differences_without_a_verdict(mastery) -> None:
    first, second = store_runs(2, slower=3.0)
    out = mastery("compare", first, second).out
    assert "No verdict" in out
    assert "beyond" not in out


@pytest.mark.parametrize(("slower", "word"), [(1.0, "within"), (30.0, "beyond")])
def test_with_earlier_runs_a_difference_is_within_or_beyond_their_spread(mastery, slower: float, word: str) -> None:
    ids = store_runs(6, slower=slower)
    said = mastery("compare", ids[0], ids[-1])
    assert word in said.out
    changes = {each["change"].split()[0] for each in mastery("compare", ids[0], ids[-1], "--json").document()["differences"]}
    assert word in changes


def test_claims_stand_with_their_word_and_their_history(mastery, stored_run: str) -> None:
    out = mastery("claims", "--history").out
    assert "fsync-cost" in out.splitlines()
    assert [line.split()[0] for line in out.splitlines() if "2026-11-22" in line]
    assert "SQLite flushes at every commit. (SQLite, 3.50)" in out


def test_claims_of_an_unknown_name_are_refused_with_the_nearest(mastery, stored_run: str) -> None:
    said = mastery("claims", "fsync-cots")
    assert (said.status, "'fsync-cost'" in said.err) == (2, True)


def test_a_decision_names_the_arm_what_flips_it_and_how_far_to_trust_it(mastery, stored_run: str) -> None:
    out = mastery("decide", "fsync-cost", "--need", "at_risk <= 100000").out
    assert out.splitlines()[0].startswith("sync=never")
    assert "What would flip it" in out
    assert f"From own run {stored_run} of 2026-11-22, normal." in out
