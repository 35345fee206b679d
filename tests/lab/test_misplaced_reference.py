"""The real fio, put beside an arm that it does not measure: the engine notices, and withholds the verdicts on that metric."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mastery.articles.file_io_durability.fsync_cost import fsync_cost
from mastery.components.component import Here, Missing, Site
from mastery.components.fio import FioCommit
from mastery.lab.event import Judged
from mastery.lab.experiment import Level
from mastery.lab.hosting import Host, find_components
from mastery.lab.layout import lay_out
from mastery.lab.plan import Header
from mastery.lab.planning import Mode
from mastery.lab.reference import Reference
from mastery.lab.run import perform

# A record so long that no disk writes and flushes it in the time that it takes for 4 KiB.
SLOWER: Mapping[str, Level] = {"record": 4 << 20}


@dataclass(frozen=True, slots=True)
class MisplacedFio:
    """fio on a slower arm than the one that it stands beside."""

    name: str = "fio"

    def find(self) -> Here | Missing:
        return FioCommit().find()

    def serves(self, levels: Mapping[str, Level]) -> bool:
        return FioCommit().serves(levels)

    def measure(self, levels: Mapping[str, Level], addresses: Mapping[str, Any], *, seconds: float) -> float:
        return FioCommit().measure({**levels, **SLOWER}, addresses, seconds=seconds)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_fio_beside_an_arm_that_it_does_not_measure_withholds_the_verdict(tmp_path: Path) -> None:
    declared = replace(fsync_cost, references=(Reference("fio-misplaced", MisplacedFio(), metric="p50", within=1.3),))
    site = Site("r1", tmp_path, tmp_path)
    found = find_components(declared, site)
    levels = {"sync": ["every", "never"], "call": ["fdatasync"], "layout": ["append"], "record": ["4096"], "committers": ["1"]}
    layout = lay_out(declared, found, mode=Mode.QUICK, budget_s=20.0, levels=levels)
    plan = layout.plan(declared, Header(run="r1", article="", started="2026-01-01T00:00:00Z", package="0"), seed=7)
    with Host(declared, site, found) as host:
        began = time.monotonic()
        *_, last = perform(
            plan,
            lambda task: host.run_trial(plan, task, clock=lambda: time.monotonic() - began),
            time.monotonic,
            finished=lambda: "2026-01-01T00:01:00Z",
        )
    assert isinstance(last, Judged)
    (reference,) = last.document.references
    assert reference.blocks >= 8
    assert reference.agrees is False and reference.high is not None and reference.high < 1 / 1.3
    effect = last.document.effect(1, "p50")
    assert effect is not None and effect.verdict is None
    assert effect.withheld is not None and "independent tool" in effect.withheld
