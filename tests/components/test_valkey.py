"""A Valkey of our own, private and empty for each trial; and one of the user's, left as it was found."""

import os
import subprocess
from pathlib import Path

import pytest

from mastery.components import processes
from mastery.components.component import Here, Missing, Site
from mastery.components.run_folder import make_run_folder
from mastery.components.targets import Leave, targets_file
from mastery.components.valkey import Valkey, ValkeyServer
from mastery.components.valkey_target import ValkeyTarget
from mastery.errors import DomainError, MachineCannot, TargetRefused

pytest.importorskip("valkey")
if not isinstance(Valkey().find(Site("r1", Path("/nonexistent"), Path("/nonexistent"))), Here):
    pytest.skip("no Valkey on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with make_run_folder(tmp_path_factory.mktemp("runs"), f"vk{os.getpid()}") as run:
        yield run.site


@pytest.fixture
def server(site):
    server = Valkey(settings={"appendonly": "yes"}).start(site, {"appendfsync": "always", "save": ""})
    assert isinstance(server, ValkeyServer)
    yield server
    server.stop()
    server.stop()


def test_a_trial_finds_the_server_empty_and_leaves_it_empty(server):
    for _ in range(2):
        with server.fresh("trial") as address, address.connect() as client:
            assert client.dbsize() == 0
            client.set("key", "value")
    with server.address.connect() as client:
        assert client.dbsize() == 0


def test_a_blocked_client_of_a_dead_trial_does_not_meet_the_next_trials_data(server):
    from valkey.exceptions import ConnectionError as Ended

    with server.fresh("first") as address:
        blocked = address.connect()
        line = blocked.connection_pool.get_connection("BLPOP")
        line.send_command("BLPOP", "queue", 0)
    with server.fresh("second") as address, address.connect() as client:
        client.rpush("queue", "mine")
        assert client.llen("queue") == 1
        with pytest.raises(Ended):
            line.read_response()
    blocked.connection_pool.disconnect()


def test_what_was_synced_survives_a_crash(server):
    with server.fresh("crash") as address:
        with address.connect() as client:
            client.set("key", "value")
        pid = processes.identify(server.pid)
        server.crash()
        assert not processes.is_alive(pid)
        server.restart()
        with address.connect() as client:
            assert client.get("key") == b"value"


def test_without_a_log_a_crash_takes_everything(server):
    server.restart({"appendonly": "no", "save": ""})
    with server.fresh("crash") as address:
        with address.connect() as client:
            client.set("key", "value")
        server.crash()
        server.restart()
        with address.connect() as client:
            assert client.get("key") is None


def test_the_trial_after_one_that_crashed_the_server_finds_it_running(server):
    with server.fresh("first"):
        server.crash()
    with server.fresh("second") as address, address.connect() as client:
        assert client.ping()


def test_configuration_and_counters_tell_what_decides_figures(server, site):
    told = server.configuration()
    assert (told["appendfsync"], told["appendonly"], told["save"]) == ("always", "yes", "")
    assert not [value for value in told.values() if str(site.folder) in value]
    before = server.counters()
    with server.address.connect() as client:
        client.get("absent")
    after = server.counters()
    assert after["misses"] - before["misses"] == 1


def test_a_setting_with_several_words_arrives_whole(server):
    server.restart({"save": "3600 1 300 100"})
    assert server.configuration()["save"] == "3600 1 300 100"


def test_a_setting_that_does_not_exist_is_refused_with_the_servers_own_words(site):
    with pytest.raises(DomainError, match="appendfsinc"):
        Valkey().start(site, {"appendfsinc": "always"})


def test_settings_that_open_the_server_to_others_are_overruled(site):
    server = Valkey().start(site, {"port": "6379", "unixsocketperm": "777"})
    with server.address.connect() as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("unixsocketperm") == {"unixsocketperm": "700"}
    server.stop()


@pytest.mark.root
def test_another_local_user_can_neither_connect_nor_read(server):
    listening = server.address.url.removeprefix("unix://")
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    asks = ["/usr/bin/python3", "-c", code, listening]
    subprocess.run(asks, check=True)
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *asks]
    assert "PermissionError" in subprocess.run(other, check=False, capture_output=True, text=True).stderr
    assert server.data.stat().st_mode & 0o077 == 0


def test_the_choice_of_the_user_decides_where_it_is_found(site):
    def found(choice):
        return Valkey().find(Site(site.run, site.folder, site.sockets, {"valkey": choice}))

    assert isinstance(found("docker"), Missing)
    assert isinstance(found("embedded"), Missing) or found("embedded").how == "embedded"
    assert isinstance(found("os"), Missing) or found("os").how == "os"
    with pytest.raises(MachineCannot, match="99"):
        Valkey(minimum=99).start(site, {})


@pytest.fixture
def theirs(site, tmp_path, monkeypatch):
    monkeypatch.setenv("MASTERY_HOME", str(tmp_path))
    server = Valkey().start(site, {})
    targets_file().write_text(f'[valkey.cache]\nurl = "{server.address.url}"\n')
    yield server
    server.stop()


def begin(*, settings=None, leave=None, minimum=7):
    return ValkeyTarget.begin("cache", minimum=minimum, settings=settings or {}, leave=leave or Leave(scratch="cache"))


def test_on_a_target_only_keys_under_our_prefix_are_written_and_removed(theirs):
    target = begin()
    with theirs.address.connect() as client:
        with target.fresh("trial") as address:
            client.set("theirs", "kept")
            client.mset({f"{address.prefix}{number}": "ours" for number in range(1200)})
        assert client.keys() == [b"theirs"]
        with target.fresh("again"):
            client.set(f"{address.prefix}left", "ours")
        target.stop()
        target.stop()
        assert client.keys() == [b"theirs"]


def test_a_target_that_holds_keys_is_refused(theirs):
    with theirs.address.connect() as client:
        client.select(3)
        client.set("theirs", "kept")
    with pytest.raises(TargetRefused, match="holds 1 keys"):
        begin()


def test_a_target_must_be_repeated_as_scratch(theirs):
    with pytest.raises(TargetRefused) as refused:
        begin(leave=Leave())
    assert "--scratch cache" in refused.value.remedy


def test_a_target_in_use_is_refused_unless_its_name_is_repeated(theirs):
    with theirs.address.connect() as client:
        client.ping()
        with pytest.raises(TargetRefused, match="in use") as refused:
            begin()
        assert "--shared-server cache" in refused.value.remedy
        begin(leave=Leave(scratch="cache", shared_server="cache")).stop()


def test_a_replica_is_refused(theirs):
    with theirs.address.connect() as client:
        client.replicaof("127.0.0.1", 1)
    with pytest.raises(TargetRefused, match="replica"):
        begin()


def test_settings_and_old_versions_are_refused(theirs):
    with pytest.raises(TargetRefused, match="appendonly"):
        begin(settings={"appendonly": "yes"})
    with pytest.raises(TargetRefused, match="99 is needed"):
        begin(minimum=99)


@pytest.mark.parametrize("url", ["redis://:hunter2@host/0", "redis://host/0?password=hunter2", "http://host", "redis://[bad"])
def test_a_password_or_nonsense_in_the_file_is_refused_without_repeating_it(theirs, url):
    targets_file().write_text(f'[valkey.cache]\nurl = "{url}"\n')
    with pytest.raises(TargetRefused) as refused:
        begin()
    assert "hunter2" not in refused.value.message + refused.value.remedy


def test_a_server_that_refuses_connections_is_one_clear_refusal(theirs, tmp_path):
    targets_file().write_text(f'[valkey.cache]\nurl = "unix://{tmp_path}/absent.sock"\n')
    with pytest.raises(TargetRefused, match="cannot be reached") as refused:
        begin()
    assert "targets.toml" in refused.value.remedy


def test_the_component_goes_to_the_target_that_the_site_names(theirs, site):
    named = Site(site.run, site.folder, site.sockets, {}, {"valkey": "cache"}, {"scratch": "cache"})
    assert Valkey().find(named).how == "target"
    service = Valkey().start(named, {})
    assert isinstance(service, ValkeyTarget)
    assert service.configuration()["how"] == "target"
    service.stop()
