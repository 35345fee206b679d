"""Real namespaces and real frames. Times are only compared with what physics forbids: nothing arrives too early."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mastery.components import network as module
from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.link import Link
from mastery.components.network import Hosts, Network, link_from_settings
from mastery.errors import DomainError, NeedsExtra, UnknownName, UsageError

SOURCE = Path(module.__file__).parents[2]


def site(folder: Path) -> Site:
    return Site(run="test", folder=folder, sockets=folder)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    found = Hosts().find(site(tmp_path_factory.mktemp("site")))
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    with Network(["a", "b", "c"], seed=5) as opened:
        yield opened


@pytest.fixture
def net(opened: Network) -> Iterator[Network]:
    """One network for all tests, each of which finds its links as new."""
    yield opened
    opened.change(Link())


def namespaces_of(net: Network) -> set[int]:
    """The inodes of the hosts' network namespaces, which name them for the whole machine."""
    return {Path(place.network).stat().st_ino for place in net.address().places.values()}


def namespaces_alive() -> set[int]:
    """Those that any process is in, or holds open."""
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in (process / "ns/net", *list_folder(process / "fd")):
            try:
                if str(link.readlink()).startswith("net:["):
                    found.add(link.stat().st_ino)
            except OSError:
                continue
    return found


def list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def wait_until_gone(inodes: set[int]) -> None:
    """Bounded by the time limit of the test itself."""
    while inodes & namespaces_alive():
        os.sched_yield()


def echo_once(ipv4: str) -> bytes:
    with socket.create_server((ipv4, 7000)) as server:
        connection, _ = server.accept()
        with connection:
            data = b""
            while piece := connection.recv(65536):
                data += piece
            return data


def send(ipv4: str, data: bytes) -> int:
    while True:
        try:
            with socket.create_connection((ipv4, 7000)) as connection:
                connection.sendall(data)
                return len(data)
        except ConnectionRefusedError:
            os.sched_yield()


def test_hosts_see_their_own_interface_and_nothing_of_the_machine(net: Network) -> None:
    assert net.run_in("a", lambda: sorted(name for _, name in socket.if_nameindex())) == ["eth0", "lo"]
    own = Path("/proc/self/ns/net").stat().st_ino
    assert net.run_in("a", lambda: Path("/proc/self/ns/net").stat().st_ino) != own
    assert net.run_in("b", os.geteuid) == os.geteuid()


def test_tcp_between_two_hosts_carries_every_byte_despite_loss(net: Network) -> None:
    net.change(Link(delay_s=0.002, loss=0.02))
    data = os.urandom(300_000)
    receiver = net.start_in("b", lambda: echo_once(net.ipv4("b")))
    assert net.run_in("a", lambda: send(net.ipv4("b"), data)) == len(data)
    assert receiver.result() == data
    counted = net.counters()["a", "b"]
    assert counted.lost > 0
    assert (
        counted.offered == counted.delivered + counted.lost + counted.overflowed + counted.cut + counted.refused + counted.waiting
    )


def test_no_frame_is_larger_than_a_wire_would_carry(net: Network) -> None:
    """With offloads on, the kernel hands over segments of 64 KiB and leaves their checksums out."""
    before = net.counters()["a", "b"]
    receiver = net.start_in("b", lambda: len(echo_once(net.ipv4("b"))))
    net.run_in("a", lambda: send(net.ipv4("b"), b"x" * 1_000_000))
    assert receiver.result() == 1_000_000
    after = net.counters()["a", "b"]
    frames = after.offered - before.offered
    assert frames >= 1_000_000 / 1460
    assert (after.offered_byte - before.offered_byte) / frames <= 1514


def test_frames_do_not_arrive_before_the_delay(net: Network) -> None:
    net.change(Link(delay_s=0.03))
    (proof,) = net.prove("a", "b", probes=100).links
    assert proof.delay_s_measured is not None
    # Half a millisecond for the wall clock, which the stamps use, being slewed meanwhile.
    assert proof.delay_s_measured >= 0.0295
    assert (proof.lost, proof.sent) == (0, 100)
    assert proof.counters_agree


def test_losses_seen_by_the_hosts_are_those_the_emulator_counts(net: Network) -> None:
    net.change(Link(loss=0.25), source="a", target="c")
    (proof,) = net.prove("a", "c", probes=400).links
    assert proof.loss_holds
    assert proof.counters_agree
    assert proof.lost > 0
    assert net.prove("c", "a", probes=50).links[0].lost == 0


def test_a_partition_silences_one_side_and_healing_gives_it_back(net: Network) -> None:
    net.change(Link(delay_s=0.001))
    net.partition(["a"])
    assert net.link("a", "b").cut and net.link("c", "a").cut and not net.link("b", "c").cut
    (cut,) = net.prove("a", "b", probes=30).links
    assert cut.lost == cut.sent and cut.holds
    assert net.prove("b", "c", probes=30).links[0].lost == 0
    net.heal()
    assert net.link("a", "b") == Link(delay_s=0.001)
    assert net.prove("a", "b", probes=30).links[0].lost == 0


def test_settings_change_while_a_connection_is_open(net: Network) -> None:
    receiver = net.start_in("b", lambda: len(echo_once(net.ipv4("b"))))

    def send_slowly() -> None:
        with socket.create_connection((net.ipv4("b"), 7000)) as connection:
            connection.sendall(b"x" * 1000)
            os.read(go_on, 1)
            connection.sendall(b"x" * 1000)

    net.partition(["a"])
    go_on, told = os.pipe()
    sender = net.start_in("a", send_slowly)
    while net.counters()["a", "b"].cut == 0:
        os.sched_yield()
    net.heal()
    os.write(told, b"x")
    sender.result()
    assert receiver.result() == 2000
    os.close(go_on)
    os.close(told)


def test_a_flood_that_the_emulator_cannot_take_is_counted_as_missed(net: Network) -> None:
    """Its own receive buffer overflows while it is stopped; nothing of that may look like the link's loss."""
    emulator = net.emulator_pid()
    assert emulator is not None
    before = net.missed()["a"]

    def flood() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(20_000):
                sender.sendto(b"x" * 1400, (net.ipv4("b"), 9))
        return 20_000

    os.kill(emulator, signal.SIGSTOP)
    try:
        sent = net.run_in("a", flood)
    finally:
        os.kill(emulator, signal.SIGCONT)
    missed = net.missed()["a"] - before
    assert 0 < missed < sent
    assert net.missed()["b"] == 0


def test_the_same_seed_loses_the_same_frames_in_two_networks(net: Network) -> None:
    def losses(seed: int) -> int:
        with Network(["a", "b"], Link(loss=0.3), seed=seed) as twin:
            twin.prove("a", "b", probes=200)
            return twin.counters()["a", "b"].lost

    assert losses(11) == losses(11)


def test_an_error_inside_a_host_is_raised_outside(net: Network) -> None:
    with pytest.raises(ZeroDivisionError):
        net.run_in("a", lambda: 1 // 0)
    with pytest.raises(ConnectionError):
        net.run_in("a", lambda: socket.create_connection((net.ipv4("b"), 1)))


def test_a_process_that_dies_inside_a_host_says_so(net: Network) -> None:
    with pytest.raises(DomainError, match="status -9"):
        net.run_in("a", lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_an_error_that_cannot_travel_is_described(net: Network) -> None:
    class Local(Exception):
        pass

    def fail() -> None:
        raise Local("beyond pickling")

    with pytest.raises(DomainError, match="beyond pickling"):
        net.run_in("a", fail)


def test_a_program_runs_inside_a_host_by_its_command_alone(net: Network) -> None:
    words = net.command_in("b", [sys.executable, "-c", "import socket; print(sorted(n for _, n in socket.if_nameindex()))"])
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['eth0', 'lo']"


def test_an_unknown_host_is_answered_with_the_nearest(net: Network) -> None:
    with pytest.raises(UnknownName, match="'d'"):
        net.run_in("d", os.getpid)
    with pytest.raises(UnknownName):
        net.change(Link(), target="nowhere")


@pytest.mark.parametrize("hosts", [[], ["a"], ["a", "a"], [f"h{number}" for number in range(9)]])
def test_a_network_of_one_or_of_twins_or_of_too_many_is_refused(hosts: list[str]) -> None:
    with pytest.raises(UsageError):
        Network(hosts)


def test_a_closed_network_says_that_it_is_closed() -> None:
    closed = Network(["a", "b"])
    with pytest.raises(DomainError, match="not open"):
        closed.run_in("a", os.getpid)
    with pytest.raises(DomainError, match="not open"):
        closed.counters()
    closed.close()
    closed.close()


def test_closing_ends_what_still_runs_in_a_host_and_takes_the_namespaces_down(net: Network) -> None:
    with Network(["a", "b"]) as other:
        inodes = namespaces_of(other)
        assert inodes <= namespaces_alive()
        waiting = other.start_in("a", signal.pause)
    with pytest.raises(ProcessLookupError):
        os.kill(waiting.pid, 0)
    wait_until_gone(inodes)


def test_a_killed_emulator_is_reported_and_leaves_no_namespace(net: Network) -> None:
    with Network(["a", "b"]) as other:
        inodes, emulator = namespaces_of(other), other.emulator_pid()
        assert emulator is not None
        os.kill(emulator, signal.SIGKILL)
        with pytest.raises(DomainError, match="emulator is gone"):
            other.counters()
        wait_until_gone(inodes)


OWNER = """
    import os, signal
    from mastery.components.network import Network
    with Network(["a", "b"]) as net:
        inside = net.start_in("a", signal.pause)
        inodes = [os.stat(place.network).st_ino for place in net.address().places.values()]
        print(net.emulator_pid(), inside.pid, *inodes, flush=True)
        signal.pause()
"""


def test_killing_the_owner_takes_the_emulator_the_hosts_and_what_runs_in_them(net: Network) -> None:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(OWNER)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        _emulator, _inside, *inodes = (int(word) for word in owner.stdout.readline().split())
        assert set(inodes) <= namespaces_alive()
        owner.kill()
    # A process that is in a namespace keeps it alive, so this waits for the emulator and for what ran in the host.
    wait_until_gone(set(inodes))


def test_a_kernel_that_refuses_namespaces_is_a_clear_refusal(tmp_path: Path) -> None:
    """A user namespace whose own limit of network namespaces is zero stands for the machine that refuses."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare(1) is not installed")
    code = """
        from mastery.components.network import Network
        from mastery.errors import MachineCannot
        try:
            Network(["a", "b"]).open()
        except MachineCannot as refused:
            print(refused.message, "|", refused.remedy)
    """
    script = f"echo 0 > /proc/sys/user/max_net_namespaces && exec {sys.executable} -c '{textwrap.dedent(code)}'"
    answer = subprocess.run([unshare, "-Ur", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "Read-only" in answer.stderr or "Operation not permitted" in answer.stderr:
        pytest.skip("no user namespace here to try it in")
    assert "gives no network namespaces" in answer.stdout
    assert "run as root" in answer.stdout


def test_without_its_extra_the_refusal_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(NeedsExtra, match="network"):
        Network(["a", "b"]).open()
    missing = Hosts().find(site(tmp_path))
    assert isinstance(missing, Missing)
    assert missing.extra == "network"


@pytest.mark.slow
def test_the_component_is_found_proved_and_configured(net: Network, tmp_path: Path) -> None:
    component = Hosts(("x", "y"))
    assert isinstance(component.find(site(tmp_path)), Here)
    assert component.scope is Scope.ARM
    # A wide tolerance comes with a long delay: five percent of it, however busy this machine is.
    service = component.start(site(tmp_path), {"delay_s": "0.2", "loss": "0.01", "seed": "4"})
    try:
        configured = service.configuration()
        assert configured["hosts"] == "x y"
        assert configured["proof x>y"].endswith("holds")
        with service.fresh("trial") as address:
            assert set(address.ipv4) == {"x", "y"}
        assert configured["tcp congestion control"]
        assert service.counters()["x>y offered"] >= 1000
        assert service.counters()["x missed"] == 0
    finally:
        service.stop()
        service.stop()


def test_a_link_that_cannot_be_reached_is_refused_at_the_start(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faithful = Network.prove

    def lying(self: Network, source: str | None = None, target: str | None = None, *, probes: int = 100) -> object:
        self._ask({"change": [[1, 2, {"delay_s": 0.1}]]})  # behind the network's back
        return faithful(self, source, target, probes=probes)

    monkeypatch.setattr(Network, "prove", lying)
    with pytest.raises(DomainError, match=r"x to y: delay \d{3}\.\d\d ms \(expected 0.00 ms\)"):
        Hosts(("x", "y")).start(site(tmp_path), {})


@pytest.mark.parametrize("settings", [{"delay": "1"}, {"delay_s": "fast"}, {"seed": "1.5"}, {"loss": "2"}])
def test_settings_that_are_no_link_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        link_from_settings(settings)


def test_settings_become_a_link_and_a_seed() -> None:
    words = {"delay_s": "0.02", "loss": "0.1", "rate_bit_s": "1e6", "queue_byte": "3000", "seed": "9"}
    assert link_from_settings(words) == (Link(0.02, 0.1, 1e6, 3000), 9)


@pytest.mark.root
def test_an_ordinary_user_gets_the_same_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the system's own Python: root's may lie where nobody else can read it."""
    python, setpriv = shutil.which("python3", path="/usr/bin:/usr/local/bin"), shutil.which("setpriv")
    if os.geteuid() != 0 or python is None or setpriv is None:
        pytest.skip("needs root, setpriv and a system Python")
    import pyroute2

    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(SOURCE / "mastery", folder / "mastery", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(pyroute2.__file__).parent, folder / "pyroute2", ignore=shutil.ignore_patterns("__pycache__"))
    for parent in (folder, *list(folder.parents)[: len(folder.parents) - len(Path("/tmp").parts)]):
        parent.chmod(0o755)
    code = """
        import os
        from mastery.components.link import Link
        from mastery.components.network import Network
        with Network(["a", "b"], Link(delay_s=0.02, loss=0.1)) as net:
            proof = net.prove("a", "b", probes=200).links[0]
            print(net.run_in("a", os.geteuid), proof.delay_s_measured >= 0.0195, proof.loss_holds, proof.counters_agree)
    """
    answer = subprocess.run(
        [setpriv, "--reuid=1001", "--regid=1001", "--clear-groups", python, "-B", "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if "gives no network namespaces" in answer.stderr:
        pytest.skip("this kernel gives ordinary users no namespaces")
    assert answer.stdout.split() == ["1001", "True", "True", "True"], answer.stderr
