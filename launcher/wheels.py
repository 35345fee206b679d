"""Which wheels a set of locks means on this machine, and how big they are: known before anything is fetched."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parent
PIP = LAUNCHER / "pip-26.3-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class Wheel:
    """`size_bytes` is None where no known wheel fits this Python and machine."""

    name: str
    version: str
    size_bytes: int | None


def pins(lock: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and marker ("" for none) of each line of a lock that pins something."""
    for line in lock.splitlines():
        pinned = re.match(r"([A-Za-z0-9._-]+)==(\S+?)(?:\s*;\s*(.*?))?\s*\\?$", line)
        if pinned:
            yield pinned[1], pinned[2], pinned[3] or ""


def sizes_by_wheel() -> dict[str, int]:
    lines = (LAUNCHER / "sizes").read_text("utf-8").splitlines()
    return {name: int(size) for name, _, size in (line.partition(" ") for line in lines if not line.startswith("#"))}


def wheels_of(locks: Iterable[Path]) -> list[Wheel]:
    """What these locks mean for the Python that runs this, each package once, by name."""
    # pip brings the reference implementation of markers and tags; writing them again would be writing them wrong.
    sys.path.insert(0, str(PIP))
    from pip._vendor.packaging.markers import Marker
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

    rank = {tag: place for place, tag in enumerate(sys_tags())}
    fitting: dict[tuple[str, str], tuple[int, int]] = {}
    for file_name, size in sizes_by_wheel().items():
        name, version, _, tags = parse_wheel_filename(file_name)
        place = min((rank[tag] for tag in tags if tag in rank), default=None)
        key = (str(name), str(version))
        if place is not None and place < fitting.get(key, (len(rank), 0))[0]:
            fitting[key] = (place, size)
    wanted = {pin for lock in locks for pin in pins(lock.read_text("utf-8"))}
    for_us = {
        (str(canonicalize_name(name)), version) for name, version, marker in wanted if not marker or Marker(marker).evaluate()
    }
    return [Wheel(*key, size_bytes=fitting[key][1] if key in fitting else None) for key in sorted(for_us)]
