"""How an experiment is declared: its arms, its primary metric, and the contradictions that are refused when it is loaded."""

from collections.abc import Generator
from typing import Any

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.catalogue.loading import load_experiment
from mastery.errors import BrokenExperiment, UnknownName
from mastery.lab import Claim, Closed, Experiment, Factor, Metric, Open, Reference, experiment, worst
from mastery.lab.experiment import MEASURED_BY_THE_ENGINE, Arm, contradictions
from mastery.lab.planning import Mode
from mastery.lab.standing import find_arm

MOST_QUICK_ARMS = 12
CATALOGUE = load_catalogue(third_parties=False)
OURS = [listing.id for listing in CATALOGUE.experiments()]


def trial(arm: Arm, **addresses: Any) -> Generator[Any, Any, None]:
    yield lambda _: None


def declared(**more: Any) -> Experiment:
    given: dict[str, Any] = {
        "id": "fake",
        "question": "Does it?",
        "factors": [Factor("size", ["small", "large"], "small"), Factor("n", [1, 2, 3], 2, quick=[2])],
        "metrics": [Metric("p50", "s", primary=True), Metric("lost", "record", role="guardrail")],
    }
    return experiment(**{**given, **more})(more.pop("trial", trial))


class Tool:
    name = "tool"

    def find(self) -> Any:
        return None

    def serves(self, levels: Any) -> bool:
        return True

    def measure(self, levels: Any, addresses: Any, *, seconds: float) -> float:
        return seconds


def without_resources(arm: Arm) -> Generator[Any, Any, None]:
    yield lambda _: None


def not_a_generator(arm: Arm) -> None:
    return None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"trial": not_a_generator}, "must be a generator"),
        ({"resources": {"disk": None}, "trial": without_resources}, "takes no resources, its resources are ['disk']"),
        ({"factors": [Factor("n", [1, 2], 3)]}, "baseline 3, which is not among its levels"),
        ({"factors": [Factor("size", ["small"], "small", quick=["tiny"])]}, "quick levels that it does not have: ['tiny']"),
        ({"metrics": []}, "has no metric"),
        ({"metrics": [Metric("p50", "s", primary=True), Metric("p99", "s", primary=True)]}, "more than one metric"),
        ({"metrics": [Metric("p50", "s", better="smaller")]}, "'smaller'"),
        ({"metrics": [Metric("p50", "s", role="guard")]}, "'guard'"),
        ({"claims": [Claim("c", worst("torn") <= 0)]}, "claim 'c' speaks of the metric 'torn'"),
        ({"claims": [Claim("c", worst("lost", at={"size": "tiny"}) <= 0)]}, "claim 'c' speaks of size=tiny"),
        ({"references": [Reference("r", Tool(), metric="p99")]}, "reference 'r' speaks of the metric 'p99'"),
        ({"smallest_effect": 0}, "smallest_effect is 0"),
        ({"smallest_effect": 1.5}, "smallest_effect is 1.5"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused_with_the_file_to_edit(more: dict[str, Any], words: str) -> None:
    function = more.pop("trial", trial)
    given: dict[str, Any] = {"id": "fake", "question": "Does it?", "factors": [Factor("size", ["small", "large"], "small")]}
    given["metrics"] = [Metric("p50", "s"), Metric("lost", "record", role="guardrail")]
    with pytest.raises(BrokenExperiment) as caught:
        experiment(**{**given, **more})(function)
    assert words in caught.value.message
    assert "test_declaration.py" in caught.value.remedy


def test_the_arms_are_all_combinations_with_the_baseline_first() -> None:
    arms = declared().arms()
    assert [(arm.index, arm.size, arm.n) for arm in arms] == [
        (0, "small", 2),
        (1, "small", 1),
        (2, "small", 3),
        (3, "large", 1),
        (4, "large", 2),
        (5, "large", 3),
    ]
    assert [arm.is_baseline for arm in arms] == [True] + 5 * [False]
    assert [arm.label() for arm in declared().arms(quick=True)] == ["size=small n=2", "size=large n=2"]
    assert arms[4].label(["n"]) == "n=2"


def test_a_level_that_an_arm_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(AttributeError, match="no factor 'depth'; it has size, n"):
        _ = declared().arms()[0].depth


def test_the_load_may_depend_on_the_arm() -> None:
    several = declared(load=lambda arm: Closed(threads=arm.n))
    assert [several.load_of(arm) for arm in several.arms()[:2]] == [Closed(threads=2), Closed(threads=1)]
    assert declared().load_of(declared().arms()[0]) == Closed()
    assert Open(rate=10, threads=3).loaders == 3


def test_the_primary_metric_is_the_one_that_says_so_else_the_first_response_else_the_first() -> None:
    cost, response = Metric("cpu", "s", role="cost"), Metric("p50", "s")
    assert declared(metrics=[cost, response, Metric("p99", "s", primary=True)]).primary.name == "p99"
    assert declared(metrics=[cost, response]).primary.name == "p50"
    assert declared(metrics=[cost]).primary.name == "cpu"


def test_unknown_metrics_and_factors_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"metric 'p05'. Did you mean 'p50'"):
        declared().metric("p05")
    with pytest.raises(UnknownName, match=r"factor 'sice'. Did you mean 'size'"):
        declared().factor("sice")


def test_there_are_experiments_of_ours_to_look_at() -> None:
    assert {"fsync-cost", "crash-loss", "rename-dance", "anomaly-matrix", "isolation-cost", "deadlock"} <= set(OURS)
    assert CATALOGUE.complaints == ()


@pytest.mark.parametrize("id", OURS)
def test_each_of_our_experiments_is_free_of_contradictions(id: str) -> None:
    found = load_experiment(id, CATALOGUE)
    assert contradictions(found) == []
    assert found.question.endswith("?")
    assert found.source
    assert len({claim.id for claim in found.claims}) == len(found.claims)


@pytest.mark.parametrize("id", OURS)
def test_each_of_our_experiments_has_a_quick_mode_of_a_few_arms(id: str) -> None:
    found = load_experiment(id, CATALOGUE)
    quick, all_of_them = found.arms(quick=True), found.arms()
    # What only counts once per arm may have many; each arm of the others is run at least six times.
    assert found.exact or 2 <= len(quick) <= MOST_QUICK_ARMS
    assert len(quick) <= len(all_of_them)
    assert Mode.QUICK.fewest_blocks == 6


@pytest.mark.parametrize("id", OURS)
def test_each_of_our_claims_speaks_of_arms_that_exist_and_says_why_and_when(id: str) -> None:
    found = load_experiment(id, CATALOGUE)
    arms = found.arms()
    for claim in found.claims:
        comparison = claim.comparison
        levels: list[Any] = [None]
        if comparison.every_level is not None:
            levels = list(found.factor(comparison.every_level).levels)
        for level in levels:
            at = dict(comparison.at) if level is None else {**comparison.at, str(comparison.every_level): level}
            if comparison.level is not None:
                factor = next(each.name for each in found.factors if comparison.level in each.levels)
                assert find_arm(arms, {**at, factor: comparison.level}, home=arms[0].levels), (claim.id, level)
                assert comparison.over is not None
                at[factor] = comparison.over
            assert find_arm(arms, at, home=arms[0].levels), (claim.id, level)
        assert claim.text.endswith("."), claim.id
        # A threshold carries its reason and the date of its writing, before the run that tests it.
        assert "written 20" in claim.because, claim.id


@pytest.mark.parametrize("id", OURS)
def test_each_claim_of_ours_is_decided_by_some_arm_of_the_quick_mode_or_is_left_to_the_normal_one(id: str) -> None:
    found = load_experiment(id, CATALOGUE)
    quick = found.arms(quick=True)
    decided = [
        claim.id
        for claim in found.claims
        if claim.comparison.every_level is not None
        or find_arm(quick, dict(claim.comparison.at), home=found.declared_home(quick=True))
    ]
    assert decided, "a quick run that can decide no claim answers nothing"


@pytest.mark.parametrize("id", OURS)
def test_each_metric_of_ours_is_measured_by_the_engine_or_explained(id: str) -> None:
    for metric in load_experiment(id, CATALOGUE).metrics:
        assert metric.name in MEASURED_BY_THE_ENGINE or metric.meaning, metric.name
        assert metric.unit
