"""fio as a reference tool: the same call on the same allocation and size as an append log of ours, measured independently."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mastery.components.component import Here, Missing
from mastery.errors import DomainError

Level = str | int | float | bool


@dataclass(frozen=True, slots=True)
class FioCommit:
    """Writes `record` bytes and flushes each, one writer, in the trial's own folder; gives the median of write plus flush in s.

    fio times the write and the flush apart and its `sync` figure leaves the write out. Their medians are added: the write
    into the page cache is a few microseconds beside a flush of hundreds, so the sum is the median of the pair to within that.
    """

    program: str = "fio"

    @property
    def name(self) -> str:
        return "fio"

    def find(self) -> Here | Missing:
        path = shutil.which(self.program)
        if path is None:
            return Missing("fio is not installed.", "Install it for a cross-check: apt-get install fio.")
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        return Here(how=path, version=answer.stdout.strip())

    def serves(self, levels: Mapping[str, Level]) -> bool:
        """One writer that flushes each record by fdatasync or fsync; O_DSYNC and shared flushes are other things."""
        return levels["sync"] == "every" and levels["committers"] == 1 and levels["call"] in ("fdatasync", "fsync")

    def measure(self, levels: Mapping[str, Level], addresses: Mapping[str, Any], *, seconds: float) -> float:
        if not self.serves(levels):
            said = " ".join(f"{name}={level}" for name, level in levels.items())
            raise DomainError(f"fio does not do what the arm {said} does.", remedy="Compare it with an arm that it serves.")
        command = [
            *(self.program, "--name=log", f"--directory={addresses['disk'].path}", "--ioengine=psync", "--rw=write"),
            *(f"--bs={levels['record']}", "--size=64m", "--time_based", f"--runtime={max(200, round(seconds * 1000))}ms"),
            *("--fallocate=none", f"--overwrite={int(levels['layout'] == 'overwrite')}", f"--{levels['call']}=1"),
            *("--output-format=json", "--percentile_list=50"),
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if answer.returncode != 0:
            raise DomainError(f"fio failed: {answer.stderr.strip()[-300:]}", remedy="Run it by hand to see why.")
        job = json.loads(answer.stdout)["jobs"][0]
        return (_median_ns(job["write"]["clat_ns"]) + _median_ns(job["sync"]["lat_ns"])) / 1e9


def _median_ns(figures: Mapping[str, Any]) -> float:
    return float(figures["percentile"]["50.000000"])
