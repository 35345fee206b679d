"""A whole run of the command line in a home of its own, and the outside world in which it may leave something behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from mastery.components import processes
from mastery.components.processes import Identity

SOURCES = Path(__file__).resolve().parents[2] / "src"
# What is promised is 2 s on a quiet machine; a test must not fail because its machine is busy.
SECONDS_ALLOWED = 20.0
SECONDS_FOR_A_RUN = 100.0

# The smallest experiment of a user's own: two arms, no component, about a second with `--budget 1.4s`.
TINY = '''"""How long does nothing take?"""

from mastery.lab import Factor, Metric, experiment


@experiment(
    id="tiny",
    question="How long does nothing take?",
    factors=[Factor("size", [1, 2], baseline=1)],
    metrics=[Metric("p50", "s", better="lower", primary=True)],
    overhead_s=0.0,
)
def tiny(arm):
    yield lambda i: sum(range(20_000 * arm.size))
'''

# The same with a PostgreSQL of its own: trials of 50 ms that the server spends asleep.
TINY_POSTGRES = '''"""How long does a server take to do nothing?"""

from contextlib import contextmanager

from mastery.components.postgres import PostgreSQL
from mastery.lab import Factor, Metric, PerWorker, experiment


@experiment(
    id="sleepy",
    question="How long does a server take to do nothing?",
    factors=[Factor("ms", [1, 2], baseline=1)],
    metrics=[Metric("p50", "s", better="lower", primary=True)],
    resources={"postgres": PostgreSQL()},
    overhead_s=0.1,
)
def sleepy(arm, postgres):
    @contextmanager
    def sleeper(loader):
        with postgres.connect(autocommit=True) as connection:
            yield lambda i: connection.execute("select pg_sleep(%s)", [arm.ms / 1000])

    yield PerWorker(sleeper)
'''


def until(holds: Callable[[], bool], *, timeout_s: float = SECONDS_ALLOWED) -> bool:
    """Asks the world again and again; False when the answer stays no."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def program_of(pid: int) -> str:
    """The name of the program that a process executes."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@dataclass(frozen=True)
class Said:
    """What one command said and how it ended."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Home:
    """A home of its own below `base`, and the user who lives there (None: whoever runs the tests)."""

    base: Path
    user: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def folder(self) -> Path:
        return self.base / "home"

    @property
    def sockets(self) -> Path:
        return self.base / "rt" / "mastery"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASTERY_", "XDG_", "PG", "COLUMNS"))}
        own = {"MASTERY_HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.base / "rt"), "HOME": str(self.base)}
        if self.user is not None:
            packages = next(each for each in sys.path if each.endswith("site-packages"))
            own |= {"PYTHONPATH": f"{SOURCES}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **own, **self.variables}

    def words(self, *words: str) -> list[str]:
        """The whole command line for `mastery WORDS`, as this home's user."""
        if self.user is None:
            return [sys.executable, "-m", "mastery", *words]
        number = str(self.user)
        return ["setpriv", "--reuid", number, "--regid", number, "--clear-groups", "/usr/bin/python3", "-m", "mastery", *words]

    def mastery(self, *words: str, timeout_s: float = SECONDS_FOR_A_RUN, **variables: str) -> Said:
        """One command to its end, without a terminal."""
        ended = subprocess.run(
            self.words(*words),
            env={**self.environment, **variables},
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Said(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))

    def start(self, *words: str) -> "Run":
        """Begins `mastery run WORDS`; waits its turn where another run is measuring on this machine."""
        number = next(self._numbers)
        out, err = self.base / f"out{number}", self.base / f"err{number}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                self.words("run", *words, "--events", "--wait"),
                env=self.environment,
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Run(self, process, out, err)

    def runs(self) -> list[dict[str, Any]]:
        """The rows of `mastery results --json`, the newest first."""
        said = self.mastery("results", "--all", "--json")
        assert said.status == 0, said.err
        rows: list[dict[str, Any]] = said.document()["runs"]
        return rows

    def document(self, run: str = "latest") -> Any:
        said = self.mastery("results", run, "--json")
        assert said.status == 0, said.err
        return said.document()


@dataclass(frozen=True)
class Run:
    """A run that was started, seen by its event lines and from outside."""

    home: Home
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The whole lines so far."""
        lines = self.out.read_bytes().split(b"\n")[:-1]
        read = [json.loads(line) for line in lines]
        return [each for each in read if kind in (None, each["event"])]

    def wait_for(self, kind: str, number: int = 1) -> dict[str, Any]:
        """The `number`th event of a kind, as soon as it is told."""
        met = until(lambda: len(self.events(kind)) >= number or self.process.poll() is not None, timeout_s=SECONDS_FOR_A_RUN)
        events = self.events(kind)
        assert met and len(events) >= number, f"no {kind} number {number}: {self.err.read_text()}"
        return events[number - 1]

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Waits for something that is seen from outside while the run lives."""
        assert until(lambda: holds() or self.process.poll() is not None, timeout_s=SECONDS_FOR_A_RUN), self.err.read_text()
        assert self.process.poll() is None, f"the run ended before the moment came: {self.err.read_text()}"

    def end(self) -> int:
        return self.process.wait(SECONDS_FOR_A_RUN)

    @property
    def main(self) -> Identity:
        """The process that the user started; its children are the run's."""
        found = processes.identify(self.process.pid)
        assert found is not None, self.err.read_text()
        return found

    def family(self) -> tuple[Identity, ...]:
        return (self.main, *processes.descendants(self.main.pid))

    def named(self) -> dict[str, Identity]:
        """The living processes by the names that the enclosure's picture gives them; those that are not there yet lack."""
        below = {each.pid: each for each in processes.descendants(self.process.pid)}
        children = [each for each in below.values() if parent_of(each.pid) == self.process.pid]
        named = {"main process": self.main}
        for each in children:
            if _session(each.pid) == each.pid:
                named["watcher"] = each
            else:
                named["holder"] = each
        for above, name in (("holder", "init"), ("init", "run process")):
            if above in named:
                found = [each for each in below.values() if parent_of(each.pid) == named[above].pid]
                if found:
                    named[name] = min(found, key=lambda each: int(each.started))
        for each in below.values():
            is_top = program_of(parent_of(each.pid)) != "postgres"
            if program_of(each.pid) == "postgres" and is_top:
                named["server"] = each
            if "run process" in named and parent_of(each.pid) == named["run process"].pid and _is_worker(each.pid):
                named["worker"] = each
        return named

    def is_furnished(self, *names: str) -> bool:
        return set(names) <= set(self.named())

    def finished_trials(self) -> list[dict[str, Any]]:
        return [event["trial"] for event in self.events("trialfinished")]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _is_worker(pid: int) -> bool:
    # A worker leads a process group but no session; a program that a component started leads both.
    try:
        return os.getpgid(pid) == pid and os.getsid(pid) != pid
    except ProcessLookupError:
        return False


def kill(*victims: Identity) -> None:
    """SIGKILL for exactly these processes, all before anybody can react to the first."""
    for each in victims:
        processes.send(each, signal.SIGKILL)


@dataclass(frozen=True)
class Outside:
    """Where something of the runs of one home can be seen, asked of the kernel and not of the code under test."""

    home: Home

    def left(self) -> list[str]:
        """Everything that is there now; empty when nothing is left of any run."""
        return [*self.living(), *self.mounts(), *self.loops(), *self.groups(), *self.folders(), *self.lock()]

    def nothing(self) -> bool:
        return not self.left()

    def pids(self) -> list[int]:
        """Processes that know the home by their environment, arguments, folder or open files."""
        mark = os.fsencode(self.home.base) + b"/"
        return [pid for pid in processes.everyone() if pid != os.getpid() and mark in _traces(pid)]

    def living(self) -> list[str]:
        return [f"process {pid} {program_of(pid)}" for pid in self.pids()]

    def mounts(self) -> list[str]:
        """In every mount namespace that any process is in."""
        seen: dict[str, str] = {}
        for pid in processes.everyone():
            try:
                namespace = str(Path(f"/proc/{pid}/ns/mnt").readlink())
                if namespace not in seen:
                    seen[namespace] = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
            except OSError:
                continue
        base = str(self.home.folder)
        return [f"mount {line}" for text in seen.values() for line in text.splitlines() if base in line]

    def loops(self) -> list[str]:
        found = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if str(self.home.base) in (file := backing.read_text()):
                    found.append(f"{backing.parts[3]} on {file.strip()}")
            except OSError:
                continue
        return found

    def groups(self) -> list[str]:
        runs = [each.stem for each in self.home.sockets.glob("*")] + [each["run"] for each in self._planned()]
        found = Path("/sys/fs/cgroup").glob("**/mastery-*") if runs else ()
        return [f"cgroup {each}" for each in found if any(run in each.name for run in runs)]

    def folders(self) -> list[str]:
        places = [self.home.folder / "cache" / "runs", self.home.sockets, self.home.base / "on"]
        found = [each for place in places if place.is_dir() for each in place.iterdir() if each.name != ".gate"]
        return [f"folder {each}" for each in found]

    def lock(self) -> list[str]:
        """The name of the machine's lock that tells which run holds it."""
        runs = {each["run"] for each in self._planned()}
        words = Path("/proc/net/unix").read_text().split()
        return [f"lock {word}" for word in words if word.startswith("@mastery-measuring/") and word.split("/")[1] in runs]

    def listening(self) -> list[str]:
        """TCP sockets on which a process of the home waits for connections."""
        inodes = {inode for pid in self.pids() for inode in _sockets(pid)}
        found = []
        for pid in self.pids() or [os.getpid()]:
            for table in ("tcp", "tcp6", "udp", "udp6"):
                try:
                    lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
                except OSError:
                    continue
                found += [f"{table} {line.split()[1]}" for line in lines if line.split()[9] in inodes]
        return found

    def _planned(self) -> list[Mapping[str, Any]]:
        lines = [line for out in self.home.base.glob("out*") for line in out.read_bytes().split(b"\n")[:-1]]
        return [json.loads(line) for line in lines if line.startswith(b'{"event":"planned"')]


def _traces(pid: int) -> bytes:
    traces = b""
    for name in ("environ", "cmdline"):
        try:
            traces += Path(f"/proc/{pid}/{name}").read_bytes() + b"/"
        except OSError:
            continue
    try:
        links = [f"/proc/{pid}/cwd", *(str(each) for each in Path(f"/proc/{pid}/fd").iterdir())]
    except OSError:
        return traces
    for link in links:
        try:
            traces += os.fsencode(Path(link).readlink()) + b"/"
        except OSError:
            continue
    return traces


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            target = str(each.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return found
    return found


QUICK = {"tiny": ("./tiny.py", "--quick", "--budget", "1.4s"), "sleepy": ("./sleepy.py", "--quick", "--budget", "4s")}
"""The words that run the two experiments above as quickly as can be."""


def is_initialising(run: Run) -> bool:
    """Whether the data of a server are being made."""
    return any(program_of(each.pid) == "initdb" for each in run.family())


def is_kept(run: Run, document: Any) -> bool:
    """Whether every trial that the run told of stands in the document."""
    kept = [(each["block"], each["arm"], each["placebo"], each["started_s"]) for each in document["trials"]]
    return all((each["block"], each["arm"], each["placebo"], each["started_s"]) in kept for each in run.finished_trials())
