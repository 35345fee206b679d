"""The reference tools: which arms each can stand beside, and that it refuses every other one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mastery.articles.file_io_durability.fsync_cost import fsync_cost
from mastery.articles.isolation_levels.isolation_cost import isolation_cost
from mastery.components.component import Here, Missing
from mastery.components.fio import FioCommit
from mastery.errors import DomainError
from mastery.lab.layout import lay_out
from mastery.lab.planning import Mode
from mastery.lab.reference import Level

BASELINE: Mapping[str, Level] = {"sync": "every", "call": "fdatasync", "layout": "append", "record": 4096, "committers": 1}


@pytest.mark.parametrize("more", [{}, {"call": "fsync"}, {"layout": "overwrite"}, {"record": 128}])
def test_fio_stands_beside_one_writer_that_flushes_each_record(more: Mapping[str, Level]) -> None:
    assert FioCommit().serves({**BASELINE, **more})


@pytest.mark.parametrize(
    "more", [{"sync": "never"}, {"sync": "every_16th"}, {"call": "o_dsync"}, {"call": "sync_file_range"}, {"committers": 8}]
)
def test_fio_refuses_what_it_would_do_otherwise(more: Mapping[str, Level], tmp_path: Path) -> None:
    levels = {**BASELINE, **more}
    assert not FioCommit().serves(levels)
    with pytest.raises(DomainError, match="fio does not do what the arm"):
        FioCommit().measure(levels, {"disk": tmp_path}, seconds=0.1)


def test_pgbench_stands_beside_the_guard_of_its_script_alone() -> None:
    (reference,) = isolation_cost.references
    assert [arm.guard for arm in isolation_cost.arms() if reference.tool.serves(arm.levels)] == 2 * ["read committed + for update"]


@pytest.mark.parametrize("levels", [{"sync": ["never"]}, {"call": ["o_dsync"]}, {"committers": ["8"]}, {"record": ["16384"]}])
def test_fio_stays_away_from_a_run_without_the_declared_baseline(levels: Mapping[str, list[str]]) -> None:
    found: dict[str, Here | Missing] = {name: Here("a folder") for name in fsync_cost.resources}
    layout = lay_out(fsync_cost, found, mode=Mode.QUICK, levels=levels)
    assert layout.references == ()
    assert len(layout.absent) == 1
