"""What may be imported from `mastery.lab`: the list is a promise, so a change of it is seen here first."""

import inspect

from mastery import lab

PROMISED = {
    "declaring": {"experiment", "Experiment", "Arm", "Factor", "Metric", "Better", "Role", "Reference"},
    "claiming": {"Claim", "Cited", "Documented", "ratio", "value", "worst", "least"},
    "loading": {"Closed", "Open", "Arrivals"},
    "yielding": {"PerWorker", "Loader", "Recorded", "Once", "Batched", "Crash", "Result"},
    "striking": {"Fault", "FaultKind"},
    "ending": {"Refused", "Retry", "Unknown"},
}


def test_the_public_interface_is_exactly_what_was_promised() -> None:
    assert set(lab.__all__) == set().union(*PROMISED.values())
    assert sorted(lab.__all__) == lab.__all__
    assert len(set(lab.__all__)) == sum(len(names) for names in PROMISED.values())


def test_every_public_name_exists_and_explains_itself() -> None:
    for name in lab.__all__:
        public = getattr(lab, name)
        assert (inspect.getdoc(public) or "").strip(), f"{name} says nothing of itself"
        assert public.__module__.startswith("mastery.lab."), name


def test_what_ends_an_operation_is_an_exception_and_nothing_else_is() -> None:
    exceptions = {
        name for name in lab.__all__ if isinstance(getattr(lab, name), type) and issubclass(getattr(lab, name), Exception)
    }
    assert exceptions == PROMISED["ending"]
