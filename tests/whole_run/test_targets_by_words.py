"""A server of the user's, named on the command line: refused when in doubt, used and left as it was when not."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_run_kit import QUICK, Home, Outside, until

from mastery.components.component import Here, Site
from mastery.components.postgres import PostgreSQL, PostgresServer
from mastery.components.postgres_binaries import find_binaries
from mastery.components.processes import send
from mastery.components.run_folder import RunFolder, make_run_folder

pytest.importorskip("psycopg")
if not isinstance(PostgreSQL().find(Site("r1", Path("/nonexistent"), Path("/nonexistent"))), Here):
    pytest.skip("no PostgreSQL on this machine", allow_module_level=True)

pytestmark = pytest.mark.slow

SLEEPY = ("run", *QUICK["sleepy"], "--wait")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    with make_run_folder(tmp_path_factory.mktemp("theirs"), f"wt{os.getpid()}") as folder:
        yield folder


@pytest.fixture(scope="module")
def theirs(site: RunFolder) -> Iterator[PostgresServer]:
    binaries = find_binaries(site.site, minimum=14)
    server = PostgresServer.begin(site.site, binaries, {"wal_level": "replica", "max_wal_senders": "4"})
    with server._administer("postgres") as connection:
        for statement in ("create role maker login createdb", "create role inside login", "create database used owner inside"):
            connection.execute(statement)
    with server._administer("used") as connection:
        connection.execute("create table precious (i int)")
    yield server
    server.stop()


def address(server: PostgresServer, **changed: str) -> str:
    from psycopg.conninfo import make_conninfo

    return make_conninfo(server.conninfo, application_name="", **changed)


def name_target(home: Home, line: str) -> None:
    (home.folder / "targets.toml").write_text(f"[postgres.mine]\n{line}\n")


def databases(server: PostgresServer) -> list[str]:
    with server._administer("postgres") as connection:
        return [name for (name,) in connection.execute("select datname from pg_database order by 1").fetchall()]


def test_a_target_is_measured_and_left_as_it_was(home, theirs):
    name_target(home, f"dsn = '''{address(theirs, user='maker', dbname='postgres')}'''")
    before = databases(theirs)
    said = home.mastery(*SLEEPY, "--target", "postgres=mine", "--i-own-this-server", "mine", "--json")
    assert said.status == 0, said.err
    assert said.document()["target"] == "mine"
    assert databases(theirs) == before
    assert Outside(home).nothing(), Outside(home).left()


def check_refused(home: Home, word: str, *, status: int = 3) -> None:
    said = home.mastery(*SLEEPY, "--target", "postgres=mine", "--i-own-this-server", "mine")
    assert said.status == status, said.err
    assert word in said.err
    assert "Traceback" not in said.err
    assert "secret" not in said.err + said.out
    assert said.err.splitlines()[-1].startswith("         "), "the remedy stands below the message"
    assert not (home.folder / "mastery.sqlite").exists()
    assert Outside(home).nothing(), Outside(home).left()


def test_a_server_with_tables_of_the_users_is_refused(home, theirs):
    name_target(home, f"dsn = '''{address(theirs, user='inside', dbname='used')}'''")
    check_refused(home, "used")
    with theirs._administer("used") as connection:
        assert connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (1,)


def test_a_password_in_the_targets_file_is_refused_unrepeated(home):
    name_target(home, "dsn = 'postgresql://me:secret@127.0.0.1:1/db'")
    check_refused(home, "password")


def test_a_standby_is_refused(home, theirs, site, tmp_path):
    copy = tmp_path / "standby"
    backup = find_binaries(site.site, minimum=14).folder / "pg_basebackup"
    taken = [
        str(backup),
        "-d",
        address(theirs, user="mastery", dbname="postgres"),
        "-D",
        str(copy),
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
    ]
    subprocess.run(taken, check=True, capture_output=True)
    standby = PostgresServer(site.site, find_binaries(site.site, minimum=14), {"hot_standby": "on"}, copy)
    standby.restart()
    try:
        name_target(home, f"dsn = '''{address(standby, user='maker', dbname='postgres')}'''")
        check_refused(home, "standby")
    finally:
        standby.stop()


def test_a_killed_run_leaves_at_most_its_own_scratch_place_on_a_target_and_no_session(home, theirs):
    name_target(home, f"dsn = '''{address(theirs, user='maker', dbname='postgres')}'''")
    before = databases(theirs)
    run = home.start(*QUICK["sleepy"], "--target", "postgres=mine", "--i-own-this-server", "mine")
    run.wait_for("trialfinished", 2)
    send(run.main, 9)
    run.end()
    assert until(Outside(home).nothing), Outside(home).left()
    left = set(databases(theirs)) - set(before)
    assert all(name.startswith("mastery_") for name in left)
    with theirs._administer("postgres") as connection:
        query = "select count(*) from pg_stat_activity where usename = 'maker'"
        assert until(lambda: connection.execute(query).fetchone() == (0,))
    assert home.document()["stopped"] == "interrupted"
    said = home.mastery(*SLEEPY, "--target", "postgres=mine", "--i-own-this-server", "mine")
    assert said.status == 0, said.err
    with theirs._administer("postgres") as connection:
        for name in left:
            connection.execute(f"drop database {name}")
