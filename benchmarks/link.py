"""What the link emulator reaches on this machine: python benchmarks/link.py [--seconds 2]

Prints, for a few links, the proof (delay, loss, rate measured through the link), the round trip of a TCP byte, the throughput
of one TCP stream, and how late the emulator let frames go. Figures of a machine, not a test.
"""

import argparse
import json
import socket
import statistics
import time

from mastery.components.link import Link
from mastery.components.network import Network

LINKS = {
    "no delay, no rate": Link(),
    "1 ms": Link(delay_s=0.001),
    "25 ms": Link(delay_s=0.025),
    "25 ms, 20 Mbit/s": Link(delay_s=0.025, rate_bit_s=20e6),
    "25 ms, 20 Mbit/s, 2 % loss": Link(delay_s=0.025, rate_bit_s=20e6, loss=0.02),
    "100 Mbit/s": Link(rate_bit_s=100e6),
}
PORT = 7000


def serve(ipv4: str) -> dict[str, float]:
    """Echoes the first connection's single bytes, then counts what the second one sends."""
    with socket.create_server((ipv4, PORT)) as server:
        first, _ = server.accept()
        with first:
            first.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while byte := first.recv(1):
                first.sendall(byte)
        second, _ = server.accept()
        with second:
            begin_s, received = time.monotonic(), 0
            while piece := second.recv(1 << 20):
                received += len(piece)
            return {"byte": received, "seconds": time.monotonic() - begin_s}


def round_trips(ipv4: str, count: int) -> list[float]:
    with connect(ipv4) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = []
        for _ in range(count):
            begin_s = time.monotonic()
            connection.sendall(b"x")
            connection.recv(1)
            found.append(time.monotonic() - begin_s)
        return found


def pour(ipv4: str, seconds: float) -> None:
    with connect(ipv4) as connection:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            connection.sendall(b"x" * 65536)


def connect(ipv4: str) -> socket.socket:
    while True:
        try:
            return socket.create_connection((ipv4, PORT))
        except ConnectionRefusedError:
            continue


def measure(link: Link, seconds: float) -> dict[str, object]:
    with Network(["a", "b"], link) as net:
        proof = net.prove()
        before = net.counters()["a", "b"]
        target = net.ipv4("b")
        server = net.start_in("b", lambda: serve(target))
        rtts = net.run_in("a", lambda: round_trips(target, 40))
        net.run_in("a", lambda: pour(target, seconds))
        got = server.result()
        after = net.counters()["a", "b"]
        offered = after.offered - before.offered
        return {
            "proof": [each.sentence() for each in proof.links],
            "rtt_ms_median": round(statistics.median(rtts) * 1e3, 3),
            "tcp_mbit_s": round(got["byte"] * 8 / got["seconds"] / 1e6, 2),
            "loss": round((after.lost - before.lost) / offered, 4),
            "overflowed": after.overflowed - before.overflowed,
            "lateness_us_mean": round(after.lateness_s_mean * 1e6, 1),
            "lateness_us_max": round(after.lateness_s_max * 1e6, 1),
        }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=2.0, help="how long each stream pours")
    seconds = words.parse_args().seconds
    for name, link in LINKS.items():
        print(json.dumps({"link": name, **measure(link, seconds)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
