"""A PostgreSQL of our own: private, empty for each trial, crashed and restarted for real."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from mastery.components import processes
from mastery.components.component import Here, Missing, Site
from mastery.components.linux import IS_LINUX
from mastery.components.postgres import PostgreSQL, PostgresServer
from mastery.components.postgres_binaries import find_binaries
from mastery.components.run_folder import make_run_folder
from mastery.errors import DomainError, MachineCannot

pytest.importorskip("psycopg")
NOWHERE = Site("r1", Path("/nonexistent"), Path("/nonexistent"))
if not isinstance(PostgreSQL().find(NOWHERE), Here):
    pytest.skip("no PostgreSQL on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with make_run_folder(tmp_path_factory.mktemp("runs"), f"pg{os.getpid()}") as run:
        yield run.site


@pytest.fixture(scope="module")
def server(site):
    server = PostgreSQL(settings={"max_prepared_transactions": "5"}).start(site, {"autovacuum": "off"})
    yield server
    server.stop()
    server.stop()


def schemas(server):
    with server._administer() as connection:
        return [name for (name,) in connection.execute("select nspname from pg_namespace where nspname like 'trial%'")]


def test_a_trial_finds_its_schema_empty_and_leaves_nothing(server):
    for _ in range(2):
        with server.fresh("Arm 1: ümlaut; drop") as address, address.connect(autocommit=True) as connection:
            connection.execute("create table t (i int)")
            assert connection.execute("select count(*) from t").fetchone() == (0,)
            assert connection.execute("select current_schema()").fetchone() == (address.schema,)
    assert schemas(server) == []


def test_the_address_survives_pickling_and_hides_its_connection_string(server):
    import pickle

    with server.fresh("x") as address:
        assert pickle.loads(pickle.dumps(address)) == address
        assert "host" not in repr(address)


def test_sessions_and_prepared_transactions_of_a_dead_trial_do_not_hold_up_the_drop(server):
    with server.fresh("hanging") as address:
        hanging = address.connect()
        hanging.execute("create table t (i int)")
        hanging.commit()
        hanging.execute("lock table t")
        with address.connect() as other:
            other.tpc_begin(other.xid(1, "it's", "b"))
            other.execute("create table u (i int)")
            other.tpc_prepare()
            other.close()
    assert schemas(server) == []
    hanging.close()


def test_what_was_committed_survives_a_crash_and_what_was_not_does_not(server):
    with server.fresh("crash") as address:
        with address.connect(autocommit=True) as connection:
            connection.execute("create table t (i int)")
            connection.execute("insert into t values (1)")
        uncommitted = address.connect()
        uncommitted.execute("insert into t values (2)")
        family = processes.descendants(server.pid)
        server.crash()
        assert server.pid is None
        assert len(family) >= 3
        assert not any(processes.is_alive(each) for each in family)
        uncommitted.close()
        server.restart()
        with address.connect() as connection:
            assert connection.execute("select i from t").fetchall() == [(1,)]


def test_the_trial_after_one_that_crashed_the_server_finds_it_running_and_clean(server):
    with server.fresh("first"):
        server.crash()
    with server.fresh("second") as address, address.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert schemas(server) == [address.schema]


def test_settings_are_the_declarations_then_the_arms_then_the_restarts(server):
    assert server.configuration()["autovacuum"] == "off"
    server.restart({"autovacuum": "on", "max_prepared_transactions": "5"})
    assert server.configuration()["autovacuum"] == "on"


def test_settings_that_open_the_server_to_others_are_overruled(server, site):
    second = PostgreSQL().start(site, {"listen_addresses": "*", "unix_socket_permissions": "0777"})
    try:
        with second._administer() as connection:
            assert connection.execute("show listen_addresses").fetchone() == ("",)
            assert connection.execute("show unix_socket_permissions").fetchone() == ("0700",)
        assert second.pid != server.pid
    finally:
        second.stop()
    assert not second.data.exists()
    assert server.configuration()


def test_counters_count_what_the_server_did(server):
    before = server.counters()
    with server.fresh("work") as address, address.connect(autocommit=True) as connection:
        connection.execute("create table t as select generate_series(1, 10000) as i")
        connection.execute("checkpoint")
        # A session reports what it did when it is idle, at the latest when it ends.
        connection.execute("select pg_stat_force_next_flush()")
    after = server.counters()
    assert after["wal_bytes"] - before["wal_bytes"] > 10_000 * 8
    assert after["checkpoints_requested"] - before["checkpoints_requested"] >= 1
    assert set(before) == set(after)


def test_the_configuration_tells_neither_who_nor_where(server, site):
    told = " ".join(server.configuration().values())
    assert "/" not in told
    assert os.uname().nodename not in told.split()
    assert server.configuration()["how"] == "embedded" or server.configuration()["how"] == "os"


def test_a_setting_that_does_not_exist_is_refused_with_the_servers_own_words(site):
    with pytest.raises(DomainError) as failed:
        PostgreSQL().start(site, {"fsyncc": "off"})
    assert 'unrecognized configuration parameter "fsyncc"' in failed.value.message


def test_data_can_lie_on_a_disk_of_their_own(site, tmp_path):
    binaries = find_binaries(site, minimum=14)
    server = PostgresServer.begin(site, binaries, {}, data=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "PG_VERSION").is_file()
    server.shut_down()
    # As after a cut that took the control file: the refusal says what the server said.
    (tmp_path / "elsewhere" / "global" / "pg_control").unlink()
    with pytest.raises(DomainError, match="pg_control"):
        server.restart()
    server.stop()
    assert not (tmp_path / "elsewhere").exists()


def test_the_users_own_client_settings_decide_nothing(server, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable")
    monkeypatch.setenv("PGHOST", "production")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGPASSWORD", "secret")
    with server.fresh("x") as address, address.connect() as connection:
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)


@pytest.mark.skipif(not IS_LINUX, reason="reads /proc")
def test_the_server_listens_on_nothing_but_its_socket(server, site):
    inodes = set()
    for each in (server.pid, *(below.pid for below in processes.descendants(server.pid))):
        # A worker of autovacuum may end while we look.
        with suppress(FileNotFoundError):
            for descriptor in Path(f"/proc/{each}/fd").iterdir():
                with suppress(FileNotFoundError):
                    inodes.add(str(descriptor.readlink()))
    internet = [line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    assert not {f"socket:[{inode}]" for inode in internet} & inodes
    (listening,) = site.sockets.glob("pg0/.s.PGSQL.*[0-9]")
    assert listening.is_socket()
    for place in (listening, *listening.parents[:2], server.data, site.folder):
        assert place.stat().st_mode & 0o077 == 0, place


@pytest.mark.root
def test_another_local_user_can_neither_connect_nor_read(server, site):
    (listening,) = site.sockets.glob("pg0/.s.PGSQL.*[0-9]")
    code = (
        "import socket, sys\n"
        "tried = []\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except OSError as refused: tried.append(type(refused).__name__)\n"
        "for path in sys.argv[2:]:\n"
        "    try: open(path).read()\n"
        "    except OSError as refused: tried.append(type(refused).__name__)\n"
        "print(tried)\n"
    )
    files = [server.data / "PG_VERSION", server.data.parent / "postgres.log", Path(f"/proc/{server.pid}/environ")]
    asks = ["/usr/bin/python3", "-c", code, str(listening), *map(str, files)]
    ours = subprocess.run(asks, capture_output=True, text=True, check=True).stdout
    assert ours == "[]\n", "the owner can do what the other must not"
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *asks]
    assert subprocess.run(other, capture_output=True, text=True, check=True).stdout == f"{['PermissionError'] * 4}\n"


def test_the_choice_of_the_user_decides_where_it_is_found():
    assert "no way" in PostgreSQL().find(Site("r", Path("/"), Path("/"), {"postgres": "docker"})).reason
    embedded = PostgreSQL().find(Site("r", Path("/"), Path("/"), {"postgres": "embedded"}))
    assert isinstance(embedded, Missing) or embedded.how == "embedded"


@pytest.mark.skipif(not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="the system has no PostgreSQL")
def test_the_systems_own_postgres_works_alike(tmp_path, site):
    chosen = Site(site.run, site.folder, site.sockets, {"postgres": "os"})
    found = PostgreSQL().find(chosen)
    assert isinstance(found, Here)
    assert found.how == "os"
    server = PostgreSQL().start(chosen, {})
    with server.fresh("x") as address, address.connect() as connection:
        connection.execute("create table t (i int)")
    assert server.configuration()["version"].split(".")[0] == found.version.split(".")[0]
    assert server.counters()["wal_bytes"] > 0
    server.stop()


def test_a_version_that_nobody_has_is_missing_with_a_remedy(site):
    found = PostgreSQL(minimum=99).find(site)
    assert isinstance(found, Missing)
    assert found.extra == "postgres"
    assert "99" in found.reason
    with pytest.raises(MachineCannot, match="99"):
        PostgreSQL(minimum=99).start(site, {})


def test_without_the_driver_the_extra_is_named(site, monkeypatch):
    monkeypatch.setattr("mastery.components.postgres.driver_is_here", lambda: False)
    found = PostgreSQL().find(site)
    assert isinstance(found, Missing)
    assert found.extra == "postgres"


def test_no_user_of_the_operating_system_was_made(server):
    assert "pgserver" not in Path("/etc/passwd").read_text()
    assert server.data.stat().st_uid == os.geteuid()
