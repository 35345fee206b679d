"""A server of the user's: refused when in doubt, left as it was found. A second server of ours plays the user's."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.components.component import Here, Site
from mastery.components.postgres import PostgreSQL, PostgresServer
from mastery.components.postgres_binaries import find_binaries
from mastery.components.postgres_target import PostgresTarget, find_target
from mastery.components.run_folder import make_run_folder
from mastery.components.targets import GUEST, Leave, targets_file
from mastery.errors import DomainError, TargetRefused, UnknownName

pytest.importorskip("psycopg")
if not isinstance(PostgreSQL().find(Site("r1", Path("/nonexistent"), Path("/nonexistent"))), Here):
    pytest.skip("no PostgreSQL on this machine", allow_module_level=True)

ROLES = """
create role maker login createdb; create role guest login; create role inside login;
create database empty; create database used; create database owned owner inside;
revoke create on database empty from public; revoke create on database used from public;
grant create on database used to inside;
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with make_run_folder(tmp_path_factory.mktemp("runs"), f"tg{os.getpid()}") as run:
        yield run


@pytest.fixture(scope="module")
def theirs(run):
    server = PostgresServer.begin(run.site, find_binaries(run.site, minimum=14), {"wal_level": "replica", "max_wal_senders": "4"})
    with server._administer("postgres") as connection:
        for statement in filter(None, (each.strip() for each in ROLES.split(";"))):
            connection.execute(statement)
    with server._administer("used") as connection:
        connection.execute("create table precious (i int)")
    yield server
    server.stop()


def words(server, **changed):
    from psycopg.conninfo import make_conninfo

    return make_conninfo(server.conninfo, application_name="", **changed)


@pytest.fixture
def targets(theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("MASTERY_HOME", str(tmp_path))
    entries = {
        "maker": words(theirs, user="maker", dbname="used"),
        "empty": words(theirs, user="guest", dbname="empty"),
        "used": words(theirs, user="inside", dbname="used"),
        "owned": words(theirs, user="inside", dbname="owned"),
    }
    write_targets({name: {"dsn": dsn} for name, dsn in entries.items()})
    return entries


def write_targets(entries):
    quoted = (
        f"[postgres.{name}]\n" + "".join(f"{key} = '''{value}'''\n" for key, value in entry.items())
        for name, entry in entries.items()
    )
    targets_file().write_text("\n".join(quoted))


def everything(server):
    """All databases, and all schemas with their relations: what must be the same afterwards."""
    with server._administer("postgres") as connection:
        databases = [name for (name,) in connection.execute("select datname from pg_database where datallowconn order by 1")]
    found = {}
    for database in databases:
        if database != "template0":
            with server._administer(database) as connection:
                found[database] = connection.execute(
                    "select nspname, array_agg(relname::text order by relname) from pg_namespace n"
                    " left join pg_class c on c.relnamespace = n.oid where nspname !~ '^pg_' group by 1 order by 1"
                ).fetchall()
    return found


def begin(name, *, leave=None, settings=None, limits=None):
    return PostgresTarget.begin(name, minimum=14, settings=settings or {}, leave=leave or Leave(), limits=limits)


ALLOWED = [("maker", Leave()), ("owned", Leave(scratch="owned"))]


@pytest.mark.parametrize(("name", "leave"), ALLOWED)
def test_the_server_is_left_as_it_was_found(theirs, targets, name, leave):
    before = everything(theirs)
    target = begin(name, leave=leave)
    for _ in range(2):
        with target.fresh("trial") as address, address.connect(autocommit=True) as connection:
            connection.execute("create table t (i int)")
            assert connection.execute("select count(*) from t").fetchone() == (0,)
            assert everything(theirs) != before
    target.stop()
    target.stop()
    assert everything(theirs) == before


@pytest.mark.parametrize(("name", "leave"), ALLOWED)
def test_connections_say_who_they_are_and_wait_only_briefly(targets, name, leave):
    target = begin(name, leave=leave)
    with target.fresh("trial") as address, address.connect() as connection:
        told = {each: connection.execute(f"show {each}").fetchone()[0] for each in ("lock_timeout", "statement_timeout")}
        assert told == {"lock_timeout": "200ms", "statement_timeout": "10s"}
        assert connection.execute("show application_name").fetchone() == (target.scratch,)
    target.stop()


def test_the_scratch_database_admits_only_as_many_connections_as_were_promised(targets):
    import psycopg

    target = begin("maker")
    with target.fresh("trial") as address:
        several = [address.connect() for _ in range(target.limits.connections + 2)]
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            address.connect()
        for each in several:
            each.close()
    target.stop()


def test_a_trials_open_transaction_does_not_keep_the_scratch_place(theirs, targets):
    before = everything(theirs)
    target = begin("owned", leave=Leave(scratch="owned"))
    with target.fresh("trial") as address:
        hanging = address.connect()
        hanging.execute("create table t (i int)")
    target.stop()
    hanging.close()
    assert everything(theirs) == before


REFUSED = [
    ("empty", Leave(), "neither databases nor schemas"),
    ("used", Leave(), "relations of yours"),
    ("used", Leave(scratch="used"), "public.precious"),
    ("owned", Leave(), "--scratch owned"),
    ("owned", Leave(scratch="other"), "--scratch owned"),
]


@pytest.mark.parametrize(("name", "leave", "reason"), REFUSED)
def test_without_the_right_to_make_a_database_the_named_one_must_be_empty_and_repeated(theirs, targets, name, leave, reason):
    before = everything(theirs)
    for attempt in (lambda: find_target(name, minimum=14, leave=leave), lambda: begin(name, leave=leave)):
        with pytest.raises(TargetRefused) as refused:
            attempt()
        assert reason in refused.value.message + refused.value.remedy
    assert everything(theirs) == before


def test_a_server_in_use_is_refused_unless_its_name_is_repeated(theirs, targets):
    with theirs._administer("used"):
        with pytest.raises(TargetRefused, match="in use") as refused:
            begin("maker")
        assert "--shared-server maker" in refused.value.remedy
        with pytest.raises(TargetRefused, match="in use"):
            begin("maker", leave=Leave(shared_server="another"))
        begin("maker", leave=Leave(shared_server="maker")).stop()


def test_settings_are_never_changed_on_a_target(theirs, targets):
    with pytest.raises(TargetRefused, match="fsync") as refused:
        begin("maker", settings={"fsync": "off"})
    assert "--target" in refused.value.remedy


def test_a_target_can_be_neither_crashed_nor_restarted():
    assert not {"crash", "restart", "shut_down", "pid", "data"} & set(dir(PostgresTarget))


def test_too_old_a_server_is_refused(targets):
    with pytest.raises(TargetRefused, match="99 is needed"):
        find_target("maker", minimum=99, leave=Leave())


def test_a_read_only_server_is_refused(theirs, targets):
    write_targets({"maker": {"dsn": targets["maker"].replace("client_min_messages=warning", "default_transaction_read_only=on")}})
    with pytest.raises(TargetRefused, match="read-only"):
        begin("maker")


@pytest.mark.slow
def test_a_standby_is_refused(theirs, targets, run, tmp_path):
    copy = tmp_path / "standby"
    base = find_binaries(run.site, minimum=14).folder / "pg_basebackup"
    from mastery.components import program
    from mastery.components.program import Command

    command = Command("pg_basebackup", (str(base), "-D", str(copy), "-R", "-c", "fast", "-d", theirs.conninfo), tmp_path)
    program.run_to_end(command, run.site)
    standby = PostgresServer(run.site, find_binaries(run.site, minimum=14), {"hot_standby": "on"}, copy)
    standby.restart()
    try:
        write_targets({"copy": {"dsn": words(standby, user="maker", dbname="used")}})
        with pytest.raises(TargetRefused, match="standby") as refused:
            begin("copy")
        assert "primary" in refused.value.remedy
    finally:
        standby.stop()


def test_what_a_killed_run_left_is_offered_and_removed_only_when_told(theirs, targets):
    before = everything(theirs)
    code = (
        "import os, signal\nfrom mastery.components.postgres_target import Leave, PostgresTarget\n"
        "for name, leave in (('maker', Leave()), ('owned', Leave(scratch='owned'))):\n"
        "    PostgresTarget.begin(name, minimum=14, settings={}, leave=leave)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    # Looks like ours by its name alone: it may be anything of the user's.
    with theirs._administer("postgres") as connection:
        connection.execute("create database mastery_0123456789ab owner maker")
    for name, leave in ALLOWED:
        target = begin(name, leave=leave)
        (leftover,) = target.leftovers()
        assert leftover.name in leftover.drop
        assert target.leftovers() == (leftover,), "looking removes nothing"
        with theirs._administer("owned" if leftover.drop.startswith("drop schema") else "postgres") as connection:
            connection.execute(leftover.drop)
        assert target.leftovers() == ()
        target.stop()
    with theirs._administer("postgres") as connection:
        connection.execute("drop database mastery_0123456789ab")
    assert everything(theirs) == before


def test_a_visit_ends_when_the_server_has_written_more_log_than_was_promised(targets):
    target = begin("maker", limits=dataclasses.replace(GUEST, wal_bytes=16 << 20))
    assert target.exceeded() is None
    with target.fresh("trial") as address, address.connect(autocommit=True) as connection:
        connection.execute("create table t as select repeat('x', 1000) as filler from generate_series(1, 20000)")
    why = target.exceeded()
    assert why is not None and "16 MiB are allowed" in why and "'maker'" in why
    target.stop()
    assert GUEST.wal_bytes == 256 << 20


def test_the_statement_for_dropping_by_hand_works(theirs, targets):
    before = everything(theirs)
    target = begin("maker")
    with theirs._administer("postgres") as connection:
        connection.execute(target.how_to_drop)
    assert everything(theirs) == before
    with pytest.raises(DomainError) as failed:
        target.stop()
    assert target.how_to_drop in failed.value.remedy


def test_nothing_that_tells_who_or_where_is_recorded(targets):
    target = begin("maker")
    told = " ".join(target.configuration().values())
    assert "maker" not in told
    assert "/" not in told
    assert target.counters()["wal_bytes"] > 0
    with target.fresh("x") as address:
        assert "host" not in repr(address)
    target.stop()


@pytest.mark.parametrize("secret", ["host=h password=hunter2", "postgresql://me:hunter2@h/db", "host=h sslpassword=hunter2"])
def test_a_password_in_the_file_is_refused_without_repeating_it(targets, secret):
    write_targets({"bad": {"dsn": secret}})
    with pytest.raises(TargetRefused, match="holds a password") as refused:
        begin("bad")
    assert "hunter2" not in refused.value.message + refused.value.remedy
    assert ".pgpass" in refused.value.remedy


def test_what_is_no_connection_string_is_refused_without_repeating_it(targets):
    write_targets({"bad": {"dsn": "password hunter2"}})
    with pytest.raises(TargetRefused) as refused:
        begin("bad")
    assert "hunter2" not in refused.value.message + refused.value.remedy
    assert refused.value.__cause__ is None


def test_the_connection_string_may_come_from_the_environment(targets, monkeypatch):
    write_targets({"from-env": {"environment": "STAGING_DSN"}})
    with pytest.raises(TargetRefused, match="STAGING_DSN, which is not set"):
        begin("from-env")
    monkeypatch.setenv("STAGING_DSN", targets["maker"] + " password=unused")
    begin("from-env").stop()


def test_the_connection_may_be_a_service(theirs, targets, tmp_path, monkeypatch):
    file = tmp_path / "services"
    with_host = "\n".join(f"{key}={value}" for key, value in pairs(targets["maker"]) if value)
    file.write_text(f"[staging]\n{with_host}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    write_targets({"staging": {"service": "staging"}})
    begin("staging").stop()


def pairs(conninfo):
    from psycopg.conninfo import conninfo_to_dict

    return conninfo_to_dict(conninfo).items()


def test_a_server_that_refuses_connections_is_one_clear_refusal(targets, tmp_path):
    write_targets({"gone": {"dsn": f"host={tmp_path} dbname=x"}})
    with pytest.raises(TargetRefused, match="'gone' cannot be reached") as refused:
        find_target("gone", minimum=14, leave=Leave())
    assert "targets.toml" in refused.value.remedy


def test_an_unknown_name_offers_the_nearest_and_says_where_names_are_kept(targets):
    with pytest.raises(UnknownName, match="Did you mean 'maker'") as refused:
        begin("makr")
    assert "targets.toml" in refused.value.remedy
    shutil.rmtree(targets_file().parent)
    with pytest.raises(UnknownName):
        begin("maker")


@pytest.mark.parametrize(
    "text", ["[postgres", "postgres = 3", "[postgres.x]\nnothing = 1", "[postgres]\nx = 'dsn'", "[postgres.x]\ndsn = 3"]
)
def test_a_broken_targets_file_is_refused_with_its_remedy(targets, text):
    targets_file().write_text(text)
    with pytest.raises((TargetRefused, UnknownName)) as refused:
        begin("x")
    assert "postgres." in refused.value.remedy or "service" in refused.value.remedy


def test_the_component_goes_to_the_target_that_the_site_names(targets, run):
    site = Site(run.site.run, run.site.folder, run.site.sockets, targets={"postgres": "maker"})
    found = PostgreSQL().find(site)
    assert isinstance(found, Here)
    assert found.how == "target"
    service = PostgreSQL().start(site, {})
    assert isinstance(service, PostgresTarget)
    service.stop()
