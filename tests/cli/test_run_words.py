"""The words of `run` become a request, or a refusal that repeats no secret."""

import argparse
from pathlib import Path

import pytest

from mastery.cli.commands import parser_for
from mastery.cli.run import duration_s, request_of
from mastery.errors import UsageError
from mastery.lab.planning import Mode


def words(*given: str) -> argparse.Namespace:
    return parser_for(["run"]).parse_args(["run", "fsync-cost", *given])


def test_words_become_a_request(tmp_path: Path) -> None:
    given = ["--quick", "--budget", "90s", "--seed", "7", "--arms", "sync=every,never", "--set", "record=16384", "--wait"]
    request = request_of(words(*given, "--on", f"disk={tmp_path}", "--component", "postgres=os", "--target", "postgres=staging"))
    assert (request.mode, request.budget_s, request.seed, request.wait) == (Mode.QUICK, 90.0, 7, True)
    assert request.arms == {"sync": ["every", "never"], "record": ["16384"]}
    assert (request.on, request.choices, request.targets) == (tmp_path, {"postgres": "os"}, {"postgres": "staging"})


def test_without_words_a_run_is_normal_and_its_seed_is_chosen_later() -> None:
    request = request_of(words())
    assert (request.mode, request.budget_s, request.seed, request.arms) == (Mode.NORMAL, None, None, {})


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("90", 90), ("5min", 300), ("5m", 300), ("1h", 3600), ("1.5 min", 90)])
def test_a_time_is_read_with_its_unit(text: str, expected: float) -> None:
    assert duration_s(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-5s", "0s", "5 weeks", "1e9", "nan"])
def test_a_time_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        duration_s(text)


@pytest.mark.parametrize(
    "target",
    [
        "postgres=postgresql://me:s3cret@db.example.org/app",
        "postgres=host=db password=s3cret",
        "postgresql://me:s3cret@db",
        "s3cret:s3cret",
        "postgres=",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_of(words("--target", target))
    assert "targets file" in caught.value.remedy
    if target != "s3cret:s3cret":
        assert "s3cret" not in caught.value.message + caught.value.remedy


@pytest.mark.parametrize(
    "given",
    [
        ["--arms", "sync"],
        ["--arms", "=every"],
        ["--arms", "sync=every,,never"],
        ["--arms", "sync=every,every"],
        ["--set", "record=1,2"],
        ["--set", "record=1", "--arms", "record=2"],
        ["--on", "cpu=/tmp"],
        ["--on", "disk=/no/such/folder"],
        ["--component", "postgres"],
        ["--seed", "-1"],
        ["--budget", "soon"],
    ],
)
def test_words_that_cannot_be_read_are_refused_with_an_example(given: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        request_of(words(*given))
    assert caught.value.remedy


def test_quick_and_rigorous_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="not allowed with"):
        words("--quick", "--rigorous")
