"""The doctor looks without touching; it clears the dead and removes only what is ours."""

from pathlib import Path

import pytest

from mastery.cli.examination import Examined, Finding
from mastery.components.component import Here, Missing
from mastery.components.run_folder import make_run_folder


def test_the_doctor_says_what_each_experiment_needs_and_has(mastery) -> None:
    value = mastery("doctor", "--json").document()
    experiments = {each["experiment"]: each for each in value["experiments"]}
    assert "fsync-cost" in experiments
    assert {each["name"] for each in experiments["fsync-cost"]["findings"]} >= {"disk", "fio"}
    assert all(each["remedy"] for every in experiments.values() for each in every["findings"] if not each["is_here"])
    assert value["store"]["exists"] is False


def test_a_folder_of_a_dead_run_is_told_and_cleared(mastery, tmp_path: Path) -> None:
    dead = tmp_path / "home" / "cache" / "runs" / "dead-run-1"
    dead.mkdir(parents=True)
    (dead / "data").write_text("left behind")
    # Its owner's mark names nobody who lives.
    (dead / ".owner").write_text("nobody")
    said = mastery("doctor")
    assert said.status == 1
    assert "dead-run-1" in said.out
    assert "mastery doctor --clean" in said.out
    assert "Cleared: dead-run-1" in mastery("doctor", "--clean").out
    assert not dead.exists()
    assert "Nothing was left behind." in mastery("doctor", "--clean").out


def test_a_damaged_store_is_a_finding_and_is_left_as_it_is(mastery, stored_run: str, tmp_path: Path) -> None:
    store = tmp_path / "home" / "mastery.sqlite"
    store.write_bytes(b"this is no database, and it was not made by us" * 100)
    said = mastery("doctor", "--json")
    assert said.status == 1
    assert said.document()["store"]["problems"]
    assert store.read_bytes().startswith(b"this is no database")


def test_removing_needs_somebody_to_agree(mastery, stored_run: str, tmp_path: Path) -> None:
    said = mastery("doctor", "--remove")
    assert said.status == 2
    assert str(tmp_path / "home" / "mastery.sqlite") in said.out
    assert (tmp_path / "home" / "mastery.sqlite").exists()


def test_removing_takes_what_is_ours_and_leaves_everything_else(mastery, stored_run: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "config").mkdir()
    (home / "config" / "targets.toml").write_text("mine")
    (home / "cache" / "pip").mkdir(parents=True)
    (home / "thesis.tex").write_text("not ours")
    assert mastery("doctor", "--remove", "--yes").status == 0
    assert sorted(each.relative_to(home).as_posix() for each in home.rglob("*") if each.is_file()) == [
        "config/targets.toml",
        "thesis.tex",
    ]
    assert (home / "cache" / "pip").is_dir()


def test_removing_from_a_home_of_ours_alone_leaves_nothing(mastery, stored_run: str, tmp_path: Path) -> None:
    mastery("doctor")
    assert mastery("doctor", "--remove", "--yes").status == 0
    assert not (tmp_path / "home").exists()
    assert "nothing of ours" in mastery("doctor", "--remove", "--yes").out


@pytest.mark.parametrize(
    ("findings", "standing"),
    [
        ([Here("found", "1")], "runs"),
        ([Here("found"), Missing("no root", "sudo")], "in part"),
        ([Missing("no server", "install it")], "cannot run"),
    ],
)
def test_an_experiment_stands_as_its_components_do(findings: list[Here | Missing], standing: str) -> None:
    found = tuple(Finding.of(f"c{index}", "resource", each) for index, each in enumerate(findings))
    assert Examined("x", found).standing == standing


def test_an_absent_reference_tool_keeps_no_experiment_from_running() -> None:
    tool = Finding.of("fio", "reference tool", Missing("not installed", "apt-get install fio"))
    assert Examined("x", (Finding.of("disk", "resource", Here("found")), tool)).standing == "runs"


def test_nothing_is_removed_while_a_run_is_measured(mastery, stored_run: str, tmp_path: Path) -> None:
    runs = tmp_path / "home" / "cache" / "runs"
    with make_run_folder(runs, "living-run"):
        said = mastery("doctor", "--remove", "--yes")
        assert (said.status, "living-run" in said.err) == (3, True)
        assert (tmp_path / "home" / "mastery.sqlite").exists()
        assert (runs / "living-run").is_dir()
