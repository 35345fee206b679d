"""The measuring engine. What an experiment needs to be declared is imported from here; this list is the public interface."""

from mastery.lab.claim import Cited, Claim, Documented, least, ratio, value, worst
from mastery.lab.experiment import Arm, Better, Experiment, Factor, Metric, Role, experiment
from mastery.lab.fault import Fault, FaultKind
from mastery.lab.load import Arrivals, Closed, Open
from mastery.lab.operation import (
    Batched,
    Crash,
    Loader,
    Once,
    PerWorker,
    Recorded,
    Refused,
    Result,
    Retry,
    Unknown,
)
from mastery.lab.reference import Reference

__all__ = [
    "Arm",
    "Arrivals",
    "Batched",
    "Better",
    "Cited",
    "Claim",
    "Closed",
    "Crash",
    "Documented",
    "Experiment",
    "Factor",
    "Fault",
    "FaultKind",
    "Loader",
    "Metric",
    "Once",
    "Open",
    "PerWorker",
    "Recorded",
    "Reference",
    "Refused",
    "Result",
    "Retry",
    "Role",
    "Unknown",
    "experiment",
    "least",
    "ratio",
    "value",
    "worst",
]
