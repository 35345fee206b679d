"""The reference tools: which arms each can stand beside, and that it refuses every other one."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from mastery.articles.file_io_durability.fsync_cost import fsync_cost
from mastery.articles.isolation_levels.isolation_cost import isolation_cost
from mastery.components import pgbench
from mastery.components.component import Here, Missing, Site
from mastery.components.fio import FioCommit
from mastery.components.pgbench import PgbenchWithdrawals
from mastery.components.postgres import PostgreSQL, PostgresServer
from mastery.components.postgres_binaries import Binaries, find_binaries
from mastery.components.postgres_session import PostgresAddress
from mastery.components.run_folder import make_run_folder
from mastery.errors import DomainError
from mastery.lab.layout import lay_out
from mastery.lab.planning import Mode
from mastery.lab.reference import Level
from mastery.workloads.accounts import make_accounts

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


CONNINFO = "host=db.example port=6543 user=me password='se cret' dbname=theirs options='-c search_path=trial' connect_timeout=10"


def test_a_connection_goes_to_pgbench_by_its_environment_and_not_by_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    tool = tmp_path / "pgbench"
    tool.write_text(f"#!/bin/sh\nprintf '%s ' \"$@\" > {tmp_path}/arguments\nenv > {tmp_path}/environment\necho 'tps = 12.5'\n")
    tool.chmod(0o700)
    monkeypatch.setattr(pgbench, "_program", lambda: str(tool))
    monkeypatch.setenv("PGHOST", "elsewhere.example")
    prepared: list[int] = []
    measure = PgbenchWithdrawals(lambda _address, pairs: prepared.append(pairs), lock=" for update").measure
    levels: Mapping[str, Level] = {"guard": "read committed + for update", "pairs": 2, "clients": 3}
    assert measure(levels, {"postgres": PostgresAddress(CONNINFO, "trial")}, seconds=1.0) == 12.5
    arguments = (tmp_path / "arguments").read_text()
    assert "--client=3" in arguments and prepared == [2]
    assert not any(word in arguments for word in ("se cret", "db.example", "me ", "password"))
    told = dict(line.partition("=")[::2] for line in (tmp_path / "environment").read_text().splitlines() if line.startswith("PG"))
    assert told["PGHOST"] == "db.example" and told["PGPASSWORD"] == "se cret" and told["PGDATABASE"] == "theirs"
    assert told["PGOPTIONS"] == "-c search_path=trial"


def test_what_no_variable_stands_for_is_refused_and_not_shown() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DomainError, match="sslpassword") as refused:
        pgbench.connection_variables("host=h sslpassword=secret")
    assert "secret" not in refused.value.message + refused.value.remedy


@pytest.mark.slow
def test_pgbench_measures_the_server_that_it_is_given_whatever_the_user_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = PgbenchWithdrawals(make_accounts, lock=" for update")
    if isinstance(tool.find(), Missing) or not isinstance(PostgreSQL().find(Site("r1", tmp_path, tmp_path)), Here):
        pytest.skip("no pgbench, or no PostgreSQL, on this machine")
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    with make_run_folder(tmp_path, f"pb{os.getpid()}") as run:
        server = PostgresServer.begin(run.site, found_binaries(run.site), {})
        try:
            with server.fresh("trial") as address:
                levels: Mapping[str, Level] = {"guard": "read committed + for update", "pairs": 2, "clients": 2}
                assert tool.measure(levels, {"postgres": address}, seconds=1.0) > 0
        finally:
            server.stop()


def found_binaries(site: Site) -> Binaries:
    found = find_binaries(site, minimum=14)
    assert not isinstance(found, Missing)
    return found
