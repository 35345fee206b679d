"""The process that carries every frame between the hosts of a network, and delays, loses and paces them on the way.

Started by `network.py` as `python -m mastery.components.link_emulator`. It makes one network namespace a host and a middle one
for itself, joins each to the middle by a veth pair, and reads and writes raw frames on the middle ends. The namespaces
live by this process's open descriptors only: when it dies, by whatever signal, the kernel takes them apart.

Requests and replies are JSON over the socket it was given: first the plan, answered by the places of the hosts; then
{"change": ...} and {"counters": true}. End of file ends it, and so does the death of its parent.
"""

import array
import fcntl
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mastery.components.link import Link, Wire
from mastery.components.linux import unshare
from mastery.components.namespaces import (
    CLONE_NEWNET,
    become_owner_of_a_network,
    die_with_parent,
    join,
    own_network,
    wake_up_exactly,
)

ETH_P_ALL = 0x0003
ETH_P_IPV4 = b"\x08\x00"
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_IGNORE_OUTGOING = 23
SIOCETHTOOL = 0x8946
# ethtool's commands that switch off: scatter-gather, send and receive checksums, TCP and generic segmentation, generic receive
# offload. With them on, the kernel hands over frames of 64 KiB without checksums, which no wire would carry.
OFFLOADS_OFF = {"rx-checksum": 0x15, "tx-checksum": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}
GET_TX_CHECKSUM, GET_TSO, GET_GSO = 0x16, 0x1E, 0x23
FRAMES_A_TURN = 64  # then look at what is due: one busy direction must not make the other one late
BUFFER_BYTE = 4 * 2**20
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
MESSAGE_BYTE = 1 << 16


@dataclass(frozen=True, slots=True)
class Host:
    """One host as this process sees it: its number decides addresses, `network` is an open namespace."""

    name: str
    number: int
    network: int

    @property
    def ipv4(self) -> str:
        return address_of(self.number)

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:{self.number:02x}"


def address_of(number: int) -> str:
    return f"10.94.0.{number}"


def main(words: list[str]) -> None:
    parent, descriptor = int(words[0]), int(words[1])
    control = socket.socket(fileno=descriptor)
    die_with_parent(parent)
    plan = json.loads(control.recv(MESSAGE_BYTE))
    try:
        hosts, in_user_namespace = _lay_out(plan["hosts"])
        ports = [_port(host) for host in hosts]
    except (OSError, ImportError) as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return
    # Entering a user namespace is a change of credentials, which may clear the wish.
    die_with_parent(parent)
    wires = _wires(hosts, Link(**plan["link"]), plan["seed"])
    control.send(json.dumps(_places(hosts, in_user_namespace=in_user_namespace)).encode())
    Emulator(control, hosts, ports, wires).run(time.monotonic)


def _places(hosts: list[Host], *, in_user_namespace: bool) -> dict[str, Any]:
    user = f"/proc/{os.getpid()}/ns/user" if in_user_namespace else ""
    return {
        "hosts": {
            host.name: {"ipv4": host.ipv4, "network": f"/proc/{os.getpid()}/fd/{host.network}", "user": user} for host in hosts
        }
    }


def _wires(hosts: list[Host], link: Link, seed: int) -> dict[tuple[int, int], Wire]:
    return {
        (source.number, target.number): Wire(link, random.Random(f"{seed} {source.number} {target.number}"))
        for source in hosts
        for target in hosts
        if source is not target
    }


def _lay_out(names: list[str]) -> tuple[list[Host], bool]:
    """Namespaces, veth pairs, addresses and neighbours; leaves this process in the middle namespace."""
    from pyroute2 import IPRoute, NetlinkError  # 0.3 s of import that only this process pays

    in_user_namespace = become_owner_of_a_network()
    middle = own_network()
    hosts: list[Host] = []
    for number, name in enumerate(names, start=1):
        unshare(CLONE_NEWNET)
        hosts.append(Host(name, number, own_network()))
    join(middle, CLONE_NEWNET)
    try:
        _join_to_the_middle(IPRoute, hosts)
        for host in hosts:
            join(host.network, CLONE_NEWNET)
            _furnish(IPRoute, host, hosts)
    except NetlinkError as refused:
        # What a machine answers that gives namespaces without rights in them (Ubuntu 24.04).
        raise OSError(refused.code, f"a virtual interface was refused: {refused}") from refused
    join(middle, CLONE_NEWNET)
    return hosts, in_user_namespace


def _join_to_the_middle(connect: Any, hosts: list[Host]) -> None:
    with connect() as routes:
        for host in hosts:
            peer = {"ifname": "eth0", "net_ns_fd": host.network, "address": host.mac}
            routes.link("add", ifname=f"to{host.number}", kind="veth", peer=peer)
            routes.link("set", index=socket.if_nametoindex(f"to{host.number}"), state="up")
            _switch_offloads_off(f"to{host.number}")


def _furnish(connect: Any, host: Host, hosts: list[Host]) -> None:
    """Inside one host: loopback, the address, and who the others are."""
    index = socket.if_nametoindex("eth0")
    with connect() as routes:
        routes.link("set", index=socket.if_nametoindex("lo"), state="up")
        routes.addr("add", index=index, address=host.ipv4, prefixlen=24)
        routes.link("set", index=index, state="up")
        for other in hosts:
            if other is not host:
                # Known beforehand: a lost ARP request would cost a full second, once, and be taken for the link's doing.
                routes.neigh("replace", dst=other.ipv4, lladdr=other.mac, ifindex=index, state="permanent")
    _switch_offloads_off("eth0")


def _switch_offloads_off(interface: str) -> None:
    """Raises OSError when one that matters stays on; the receiving side's are only asked for."""
    for command in OFFLOADS_OFF.values():
        try:
            _ethtool(interface, command, 0)
        except OSError:
            continue
    for name, command in (("tx-checksum", GET_TX_CHECKSUM), ("tso", GET_TSO), ("gso", GET_GSO)):
        if _ethtool(interface, command, 0):
            raise OSError(0, f"the offload {name} of {interface} cannot be switched off")


def _ethtool(interface: str, command: int, value: int) -> int:
    request = array.array("I", [command, value])
    address, _ = request.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))
    return request[1]


def _port(host: Host) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for forced, asked in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            port.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTE)
        except PermissionError:
            # Within the machine's limit then; what overflows is counted as missed.
            port.setsockopt(socket.SOL_SOCKET, asked, BUFFER_BYTE)
    port.bind((f"to{host.number}", ETH_P_ALL))
    port.setblocking(False)
    return port


class Emulator:
    """The loop: frames in, frames out when they are due, requests in between."""

    def __init__(
        self, control: socket.socket, hosts: list[Host], ports: list[socket.socket], wires: dict[tuple[int, int], Wire]
    ) -> None:
        self._control = control
        self._names = {host.number: host.name for host in hosts}
        self._ports = {host.number: port for host, port in zip(hosts, ports, strict=True)}
        self._numbers = {port: number for number, port in self._ports.items()}
        self._wires = wires
        self._missed = dict.fromkeys(self._ports, 0)

    def run(self, clock: Callable[[], float]) -> None:
        wake_up_exactly()
        watched = [self._control, *self._numbers]
        while True:
            due = [at_s for wire in self._wires.values() if (at_s := wire.next_due_s()) is not None]
            # `select` sleeps to the microsecond; epoll and poll round a wait up to the next millisecond.
            timeout_s = max(0.0, min(due) - clock()) if due else None
            ready, _, _ = select.select(watched, [], [], timeout_s)
            for source in ready:
                if source is self._control:
                    if not self._answer():
                        return
                else:
                    self._receive(source, clock)
            self._deliver(clock())

    def _receive(self, port: socket.socket, clock: Callable[[], float]) -> None:
        source = self._numbers[port]
        for _ in range(FRAMES_A_TURN):
            try:
                frame = port.recv(65536)
            except OSError:
                return
            # Hosts talk IPv4 by known neighbours; the kernel's own IPv6 chatter is not the experiment's traffic.
            wire = self._wires.get((source, frame[5])) if frame[12:14] == ETH_P_IPV4 else None
            if wire is not None:
                wire.offer(frame, clock())

    def _deliver(self, now_s: float) -> None:
        for (_, target), wire in self._wires.items():
            at_s = wire.next_due_s()
            if at_s is None or at_s > now_s:
                continue
            for frame in wire.arrivals(now_s):
                try:
                    self._ports[target].send(frame)
                except OSError:
                    wire.refuse(frame)

    def _answer(self) -> bool:
        try:
            message = self._control.recv(MESSAGE_BYTE)
        except OSError:
            return False
        if not message:
            return False
        request = json.loads(message)
        for source, target, link in request.get("change", ()):
            self._wires[source, target].change(Link(**link))
        names = self._names
        links = [[names[source], names[target], asdict(wire.counters())] for (source, target), wire in self._wires.items()]
        missed = {names[number]: self._missed_by(number) for number in self._ports}
        reply = {"links": links, "missed": missed}
        self._control.send(json.dumps(reply).encode())
        return True

    def _missed_by(self, number: int) -> int:
        # The kernel forgets its count when it is read.
        _, dropped = struct.unpack("II", self._ports[number].getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._missed[number] += dropped
        return self._missed[number]


if __name__ == "__main__":
    main(sys.argv[1:])
