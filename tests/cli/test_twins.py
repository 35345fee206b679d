"""The check of the method is accumulated over the stored runs, with an interval for its share of alarms."""

import msgspec
import pytest
from sample_run import sample_run

from mastery.cli.twins import Heard, TwinNoise, Twins, twins_in, twins_of
from mastery.store.home import database
from mastery.store.records import Origin
from mastery.store.store import Store


def store(*noises: dict[str, object]) -> None:
    with Store.open(database()) as opened:
        for number, noise in enumerate(noises):
            opened.close_run(sample_run(id=f"run-{number}", noise=noise))


def test_alarms_are_counted_over_the_runs_that_have_the_check(mastery) -> None:
    store({"a_a_ratio": 1.01, "a_a_alarm": False}, {"a_a_ratio": 1.4, "a_a_alarm": True}, {"floor": 0.1}, {"a_a_ratio": 0.99})
    with Store.open_to_read(database()) as opened:
        found = twins_in(opened)
    assert found is not None
    assert (found.alarms, found.runs) == (1, 3)
    assert "In 1 of 3 runs the baseline differed from itself (6.1 % to 79 %); 5 % are expected by chance" in " ".join(
        mastery("doctor").out.split()
    )
    assert mastery("doctor", "--json").document()["store"]["twins"]["alarms"] == 1


def test_imported_runs_say_nothing_about_this_machine(mastery, tmp_path) -> None:
    document = sample_run(noise={"a_a_ratio": 1.4, "a_a_alarm": True})
    with Store.open(database()) as opened:
        opened.close_run(document)
    assert mastery("export", "-o", "all.jsonl").status == 0
    database().unlink()
    assert mastery("import", "all.jsonl").status == 0
    with Store.open_to_read(database()) as opened:
        assert [row.origin for row in opened.runs()] == [Origin.IMPORTED]
        assert twins_in(opened) is None


def test_without_a_run_that_has_the_check_nothing_is_said(mastery, stored_run: str) -> None:
    with Store.open_to_read(database()) as opened:
        assert twins_in(opened) is None
    assert "differed from itself" not in mastery("doctor").out


@pytest.mark.parametrize(("alarms", "doubts"), [(1, False), (8, True)])
def test_more_alarms_than_chance_gives_are_called_a_doubt(alarms: int, doubts: bool) -> None:
    found = twins_of(TwinNoise(a_a_ratio=1.0, a_a_alarm=index < alarms) for index in range(20))
    assert isinstance(found, Twins)
    assert ("trust its effects less" in found.sentence()) is doubts


def test_the_other_fields_of_a_document_are_passed_over() -> None:
    text = msgspec.json.encode({"noise": {"a_a_ratio": 1.0, "a_a_alarm": True, "floor": 0.1}, "trials": [1, 2]})
    assert msgspec.json.decode(text, type=Heard).noise.a_a_alarm
