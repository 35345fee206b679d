"""Hosts of a network on one machine, joined by links that delay, lose and pace for real: network namespaces and an emulator.

    with Network(hosts=["a", "b"], link=Link(delay_s=0.025, loss=0.02, rate_bit_s=20e6)) as net:
        server = net.start_in("b", serve)
        seconds = net.run_in("a", fetch)

What runs in a host sees one interface, real TCP and real retransmission; only the wire is ours. Nothing outlives the
emulator process, and it dies with the process that made it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.inside import Inside, start_inside
from mastery.components.link import Link, LinkCounters
from mastery.components.link_proof import Proof, fly, judge, plan_flight
from mastery.components.namespaces import Place
from mastery.errors import DomainError, MachineCannot, MasteryError, NeedsExtra, UnknownName, UsageError

EXTRA = "network"
ANSWER_S = 20.0
MESSAGE_BYTE = 1 << 16
HOSTS_AT_MOST = 8  # every pair of hosts has two links, and one process in Python carries them all
PROBES = 1000
REMEDY = (
    "Allow user namespaces (on Ubuntu 24.04: sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
    "in a container: its seccomp profile), or run as root."
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """What a worker needs to use a network: plain values, by host."""

    ipv4: Mapping[str, str]
    places: Mapping[str, Place]


class Network:
    """Two to eight hosts, every ordered pair joined by a link of its own. Use it as a context, from one thread."""

    def __init__(self, hosts: Sequence[str], link: Link = Link(), *, seed: int = 0) -> None:  # noqa: B008  a frozen value
        if not 2 <= len(set(hosts)) == len(hosts) <= HOSTS_AT_MOST:
            raise UsageError(
                f"A network cannot have the hosts {', '.join(hosts) or '(none)'}.",
                remedy=f"Name two to {HOSTS_AT_MOST} different hosts.",
            )
        self.hosts = tuple(hosts)
        self._links = {(source, target): link for source in hosts for target in hosts if source != target}
        self._first_link, self._seed = link, seed
        self._emulator: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._complaints: IO[bytes] | None = None
        self._inside: list[Inside[Any]] = []
        self._address = NetworkAddress({}, {})

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Starts the emulator and waits for its answer; raises `MachineCannot` where the kernel refuses."""
        if find_spec("pyroute2") is None:
            raise NeedsExtra(EXTRA, why="A network of several hosts")
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_S)
        self._control = ours
        with theirs:
            # A session of its own: Ctrl-C ends the run in order, it must not tear the wire first.
            self._emulator = subprocess.Popen(
                [sys.executable, "-P", "-m", "mastery.components.link_emulator", str(os.getpid()), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            self._address = self._lay_out()
        except BaseException:
            self.close()
            raise

    def _lay_out(self) -> NetworkAddress:
        answer = self._ask({"hosts": self.hosts, "link": asdict(self._first_link), "seed": self._seed})
        if "error" in answer:
            raise MachineCannot(f"This machine gives no network namespaces: {answer['error']}.", remedy=REMEDY)
        return NetworkAddress(
            ipv4={name: host["ipv4"] for name, host in answer["hosts"].items()},
            places={name: Place(host["network"], host["user"]) for name, host in answer["hosts"].items()},
        )

    def close(self) -> None:
        """Ends what runs in the hosts, then the emulator; the kernel takes the rest. May be called twice."""
        for each in self._inside:
            each.stop()
        self._inside.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def address(self) -> NetworkAddress:
        """Plain values for a worker: `enter(address.places["a"])` moves it into a host."""
        return self._address

    def emulator_pid(self) -> int | None:
        return self._emulator.pid if self._emulator else None

    def ipv4(self, host: str) -> str:
        return self._address.ipv4[self._known(host)]

    def run_in(self, host: str, function: Callable[[], Result]) -> Result:
        """Calls the function in a forked process inside the host, and returns what it returns or raises what it raises."""
        running = start_inside(self._place(host), function)
        try:
            return running.result()
        finally:
            running.stop()

    def start_in(self, host: str, function: Callable[[], Result]) -> Inside[Result]:
        """The same without waiting; it ends with the network at the latest."""
        running = start_inside(self._place(host), function)
        self._inside.append(running)
        return running

    def command_in(self, host: str, command: Sequence[str]) -> list[str]:
        """The words of a command that runs `command` inside the host, for whoever starts programs."""
        place = self._place(host).as_text()
        return [sys.executable, "-P", "-m", "mastery.components.namespaces", place, "--", *command]

    def link(self, source: str, target: str) -> Link:
        return self._links[self._known(source), self._known(target)]

    def change(self, link: Link, *, source: str | None = None, target: str | None = None) -> None:
        """New settings for all links, or those from `source`, to `target`, or both; frames under way keep theirs."""
        self._change(dict.fromkeys(self._chosen(source, target), link))

    def partition(self, side: Sequence[str]) -> None:
        """Cuts every link between these hosts and all others, both ways; what is under way is swallowed too."""
        near = {self._known(host) for host in side}
        self._change(
            {pair: replace(link, cut=True) for pair, link in self._links.items() if (pair[0] in near) != (pair[1] in near)}
        )

    def heal(self) -> None:
        """Joins every cut link again, with the settings it had."""
        self._change({pair: replace(link, cut=False) for pair, link in self._links.items() if link.cut})

    def counters(self) -> dict[tuple[str, str], LinkCounters]:
        """Of every direction, at this moment."""
        return {(source, target): LinkCounters(**counted) for source, target, counted in self._ask({})["links"]}

    def missed(self) -> dict[str, int]:
        """Frames that came faster than the emulator took them, by sending host: a loss nobody asked for, which voids a trial."""
        counted: dict[str, int] = self._ask({})["missed"]
        return counted

    def prove(self, source: str | None = None, target: str | None = None, *, probes: int = PROBES) -> Proof:
        """Measures delay, loss and rate through the links themselves, one direction after the other.

        The links must carry nothing else meanwhile. A proof that does not hold voids what is measured over the link.
        """
        proofs = []
        for pair in self._chosen(source, target):
            link = self._links[pair]
            plan = plan_flight(link, probes=probes)
            begin, end = self._place(pair[0]), self._place(pair[1])
            before = self.counters()[pair]
            running = start_inside(None, partial(fly, begin, end, ipv4=self.ipv4(pair[1]), plan=plan))
            try:
                flight = running.result()
            finally:
                running.stop()
            counted = _difference(before, self.counters()[pair])
            proofs.append(judge(*pair, link=link, plan=plan, flight=flight, counted=counted))
        return Proof(tuple(proofs))

    def _chosen(self, source: str | None, target: str | None) -> list[tuple[str, str]]:
        for host in (source, target):
            if host is not None:
                self._known(host)
        return [pair for pair in self._links if source in (None, pair[0]) and target in (None, pair[1])]

    def _change(self, changes: Mapping[tuple[str, str], Link]) -> None:
        number = {host: index for index, host in enumerate(self.hosts, start=1)}
        self._ask({"change": [[number[source], number[target], asdict(link)] for (source, target), link in changes.items()]})
        self._links.update(changes)

    def _known(self, host: str) -> str:
        if host not in self.hosts:
            raise UnknownName("host", host, self.hosts, remedy=f"This network has {', '.join(self.hosts)}.")
        return host

    def _place(self, host: str) -> Place:
        known = self._known(host)
        if self._control is None:
            raise DomainError("This network is not open.", remedy="Use it as a context: `with Network(...) as net:`.")
        return self._address.places[known]

    def _ask(self, request: Mapping[str, object]) -> Any:
        if self._control is None or self._emulator is None:
            raise DomainError("This network is not open.", remedy="Use it as a context: `with Network(...) as net:`.")
        try:
            self._control.send(json.dumps(request).encode())
            answer = self._control.recv(MESSAGE_BYTE)
        except OSError:
            answer = b""
        if answer:
            return json.loads(answer)
        raise DomainError(
            f"The link emulator is gone ({self._last_words()}): the hosts have no wire any more.",
            remedy="Run again; what was measured over this network does not count.",
        )

    def _last_words(self) -> str:
        assert self._emulator is not None and self._complaints is not None
        self._emulator.kill()
        status = self._emulator.wait()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"status {status}"


def _difference(before: LinkCounters, after: LinkCounters) -> LinkCounters:
    summed = {each.name: getattr(after, each.name) - getattr(before, each.name) for each in fields(LinkCounters)}
    return LinkCounters(**{**summed, "lateness_s_mean": after.lateness_s_mean, "lateness_s_max": after.lateness_s_max})


@dataclass(frozen=True, slots=True)
class NetworkService:
    """A network as the run process owns it; a proof that failed at the start would have raised there."""

    network: Network
    proof: Proof

    @contextmanager
    def fresh(self, name: str) -> Iterator[NetworkAddress]:
        """The same wires for every trial: nothing is stored in them once they are silent."""
        yield self.network.address()

    def configuration(self) -> Mapping[str, str]:
        return {
            "name": "network",
            "how": "network namespaces with a link emulator in user space",
            "hosts": " ".join(self.network.hosts),
            "tcp congestion control": self.network.run_in(self.network.hosts[0], _congestion_control),
            **{f"proof {each.source}>{each.target}": each.sentence() for each in self.proof.links},
        }

    def counters(self) -> Mapping[str, float]:
        """Frames only: a mean or a maximum cannot be differenced per trial."""
        counted = {f"{host} missed": float(frames) for host, frames in self.network.missed().items()}
        for (source, target), each in self.network.counters().items():
            named = {name: value for name, value in asdict(each).items() if not name.startswith("lateness")}
            counted.update({f"{source}>{target} {name}": float(value) for name, value in named.items()})
        return counted

    def stop(self) -> None:
        self.network.close()


def _congestion_control() -> str:
    # It decides more than the protocols above it do: under 2 % loss bbr and reno differ threefold.
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


@dataclass(frozen=True, slots=True)
class Hosts:
    """The component: hosts joined by links; the settings of an arm are the fields of `Link`, and `seed`."""

    hosts: tuple[str, ...] = ("a", "b")
    name: str = field(default="network", init=False)
    scope: Scope = field(default=Scope.ARM, init=False)

    def find(self, site: Site) -> Here | Missing:
        """Makes a whole network and takes it down: kernels, policies and containers differ too much to guess."""
        try:
            with Network(self.hosts):
                return Here("network namespaces with a link emulator in user space")
        except MasteryError as error:
            return Missing(error.message, error.remedy, extra=error.extra if isinstance(error, NeedsExtra) else None)

    def start(self, site: Site, settings: Mapping[str, str]) -> NetworkService:
        """Opens the network and proves it; raises `DomainError` when the links do not do what they were told."""
        link, seed = link_from_settings(settings)
        network = Network(self.hosts, link, seed=seed)
        network.open()
        try:
            proof = network.prove()
        except BaseException:
            network.close()
            raise
        if not proof.holds:
            network.close()
            failed = "; ".join(each.sentence() for each in proof.links if not each.holds)
            raise DomainError(
                f"The link emulator does not reach its settings here: {failed}.",
                remedy="Stop what else is running, or ask for a slower link.",
            )
        return NetworkService(network, proof)


def link_from_settings(settings: Mapping[str, str]) -> tuple[Link, int]:
    """Strict: an unknown setting or a word that is no number is the caller's mistake, not a default."""
    known = {"delay_s": float, "loss": float, "rate_bit_s": float, "queue_byte": int, "seed": int}
    values: dict[str, Any] = {}
    for name, word in settings.items():
        if name not in known:
            raise UnknownName("setting of a network", name, tuple(known), remedy=f"Settings are {', '.join(known)}.")
        try:
            values[name] = known[name](word)
        except ValueError:
            raise UsageError(f"The network's {name} cannot be {word!r}.", remedy="Give a number.") from None
    seed = values.pop("seed", 0)
    return Link(**values), seed
