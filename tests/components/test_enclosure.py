"""Whoever is killed, nothing of a run is left: checked from outside, with real kills."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from mastery.components import processes
from mastery.components.belongings import mounts_below
from mastery.components.enclosure import Enclosure, available
from mastery.components.janitor import leftovers, sweep
from mastery.components.linux import IS_LINUX
from mastery.components.processes import Identity

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="namespaces are Linux's")

SCRIPT = Path(__file__).with_name("enclosed_run.py")
# What is promised is 2 s on a quiet machine; a test must not fail because its machine is busy.
SECONDS_ALLOWED = 20.0


def possible_kinds() -> list[Enclosure]:
    kinds = [available(), Enclosure.TETHER]
    if available() is Enclosure.NAMESPACES:
        kinds.insert(1, Enclosure.USER_NAMESPACES)
    return list(dict.fromkeys(kinds))


def until(holds: Callable[[], bool], *, timeout_s: float = SECONDS_ALLOWED) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A running enclosed run, seen from outside."""

    process: subprocess.Popen[str]
    runs: Path
    run: str

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def rest(self) -> str:
        return self.process.communicate(timeout=20)[0]

    def family(self) -> tuple[Identity, ...]:
        main = processes.identify(self.process.pid)
        assert main is not None
        return (main, *processes.descendants(main.pid))

    def named(self) -> dict[str, Identity]:
        """The processes by the names that the enclosure's picture gives them."""
        main, *below = self.family()
        named = {"main process": main}
        for each in below:
            if parent_of(each.pid) == main.pid:
                named["watcher" if os.getsid(each.pid) == each.pid else "holder"] = each
        chain = ["holder", "init", "run process"] if has_init(named["holder"].pid) else ["holder", "run process"]
        for above, name in pairwise(chain):
            children = [each for each in below if parent_of(each.pid) == named[above].pid]
            named[name] = min(children, key=lambda each: int(each.started))
        return named

    def sockets_folder(self) -> Path:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        base = Path(runtime) / "mastery" if runtime else Path(f"/tmp/mastery-{os.geteuid()}")
        return base / self.run

    def leaves_nothing(self) -> bool:
        return not list(self.runs.glob(f"*{self.run}*")) and not self.sockets_folder().exists() and not mounts_below([self.runs])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_init(holder: int) -> bool:
    return Path(f"/proc/{holder}/ns/pid_for_children").readlink() != Path(f"/proc/{holder}/ns/pid").readlink()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Enclosed]]:
    started: list[Enclosed] = []

    def begin(kind: Enclosure, ending: str = "wait", *, with_postgres: bool = False, until_ready: bool = True) -> Enclosed:
        run = f"t{secrets.token_hex(6)}"
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path / "runs"), run, kind.value, ending],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | ({"WITH_POSTGRES": "1"} if with_postgres else {}),
        )
        enclosed = Enclosed(process, tmp_path / "runs", run)
        started.append(enclosed)
        assert not until_ready or enclosed.said() == "ready"
        return enclosed

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate(timeout=20)


@pytest.mark.parametrize("victim", ["main process", "holder", "init", "run process"])
@pytest.mark.parametrize("kind", possible_kinds())
def test_killing_any_process_of_a_run_leaves_nothing_of_it(start, kind, victim):
    enclosed = start(kind)
    named, family = enclosed.named(), enclosed.family()
    if victim not in named:
        pytest.skip("there is no init without namespaces")
    assert len(family) >= 5, "watcher, holder, run process, program and daemon were alive before the kill"
    assert processes.send(named[victim], signal.SIGKILL)
    assert until(lambda: not any(processes.is_alive(each) for each in family)), [
        each for each in family if processes.is_alive(each)
    ]
    assert until(enclosed.leaves_nothing), list(enclosed.runs.rglob("*"))
    # The reader of the output is not kept waiting by anybody who still holds it open.
    assert "status -9" in enclosed.rest() or victim == "main process"


def shared_memory_of(family: tuple[Identity, ...]) -> set[Path]:
    """The files of shared memory that the processes have mapped, seen in their own namespace."""
    found: set[Path] = set()
    for each in family:
        try:
            maps = Path(f"/proc/{each.pid}/maps").read_text().split()
        except OSError:
            continue
        found |= {Path(word) for word in maps if word.startswith("/dev/shm/")}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["main process", "holder", "init", "run process", "server", "watcher and main process"])
@pytest.mark.parametrize("kind", possible_kinds())
def test_nothing_is_left_with_a_postgres_and_a_mount_alive(start, kind, victim):
    enclosed = start(kind, with_postgres=True)
    named, family = enclosed.named(), enclosed.family()
    memory = shared_memory_of(family)
    assert memory, "a PostgreSQL has shared memory"
    own_memory = Path(f"/proc/{server_of(family).pid}/ns/ipc").readlink() != Path("/proc/self/ns/ipc").readlink()
    assert own_memory == (kind is not Enclosure.TETHER)
    server = named["server"] = server_of(family)
    victims = [named[each] for each in victim.split(" and ") if each in named]
    if not victims:
        pytest.skip("there is no init without namespaces")
    for each in victims:
        assert processes.send(each, signal.SIGKILL)
    if victim == "server":
        assert until(lambda: not processes.is_alive(server))
        os.kill(enclosed.process.pid, signal.SIGTERM)
    if victim == "watcher and main process":
        enclosed.process.wait()
        assert until(lambda: bool(sweep(enclosed.runs)))
    assert until(lambda: not any(processes.is_alive(each) for each in family))
    assert until(enclosed.leaves_nothing), list(enclosed.runs.rglob("*"))
    assert until(lambda: not any(each.exists() for each in memory))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["initdb", "postgres"])
@pytest.mark.parametrize("kind", possible_kinds())
def test_a_run_killed_while_its_server_is_being_set_up_leaves_nothing(start, kind, moment):
    enclosed = start(kind, with_postgres=True, until_ready=False)
    assert until(lambda: moment in {names(each.pid) for each in enclosed.family()})
    family = enclosed.family()
    processes.send(family[0], signal.SIGKILL)
    assert until(lambda: not any(processes.is_alive(each) for each in family))
    assert until(enclosed.leaves_nothing), list(enclosed.runs.rglob("*"))


@pytest.mark.slow
def test_a_sweep_that_is_killed_half_way_is_finished_by_the_next(start):
    enclosed = start(Enclosure.TETHER, with_postgres=True)
    named = enclosed.named()
    processes.send(named["watcher"], signal.SIGKILL)
    processes.send(named["main process"], signal.SIGKILL)
    enclosed.process.wait()
    code = "import pathlib, sys; from mastery.components.janitor import sweep; sweep(pathlib.Path(sys.argv[1]))"
    sweeper = subprocess.Popen([sys.executable, "-c", code, str(enclosed.runs)])
    until(lambda: bool(list(enclosed.runs.glob(".dead-*"))) or sweeper.poll() is not None)
    sweeper.kill()
    sweeper.wait()
    assert [each.troubles for each in sweep(enclosed.runs)] in ([()], [])
    assert enclosed.leaves_nothing()


def server_of(family: tuple[Identity, ...]) -> Identity:
    (server,) = (each for each in family if names(each.pid) == "postgres" and names(parent_of(each.pid)) != "postgres")
    return server


def names(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.parametrize("kind", possible_kinds())
def test_a_killed_watcher_is_not_missed_when_the_run_ends_by_itself(start, kind):
    enclosed = start(kind)
    named, family = enclosed.named(), enclosed.family()
    processes.send(named["watcher"], signal.SIGKILL)
    os.kill(enclosed.process.pid, signal.SIGTERM)
    assert enclosed.rest() == "interrupted\nstatus 7\n"
    assert not any(processes.is_alive(each) for each in family)
    assert enclosed.leaves_nothing()


@pytest.mark.parametrize("kind", possible_kinds())
def test_when_watcher_and_main_process_are_killed_the_next_sweep_clears(start, kind):
    enclosed = start(kind)
    named, family = enclosed.named(), enclosed.family()
    assert leftovers(enclosed.runs) == (), "a living run is no leftover"
    assert sweep(enclosed.runs) == ()
    processes.send(named["watcher"], signal.SIGKILL)
    processes.send(named["main process"], signal.SIGKILL)
    enclosed.process.wait()
    # Nobody is there to kill them: the kernel does it, because each is tied to the one above.
    tied = [named[name] for name in ("holder", "run process")] if kind is Enclosure.TETHER else family
    assert until(lambda: not any(processes.is_alive(each) for each in tied))
    assert until(lambda: len(leftovers(enclosed.runs)) == 1)
    (swept,) = sweep(enclosed.runs)
    assert (swept.run, swept.troubles) == (enclosed.run, ())
    assert until(lambda: not any(processes.is_alive(each) for each in family))
    assert enclosed.leaves_nothing()


@pytest.mark.parametrize("kind", possible_kinds())
@pytest.mark.parametrize(("ending", "status"), [("0", 0), ("3", 3), ("raise", 70), ("signal", -signal.SIGSEGV)])
def test_the_status_of_the_run_process_is_the_status_of_the_run(start, kind, ending, status):
    enclosed = start(kind, ending)
    assert enclosed.rest() == f"status {status}\n"
    assert enclosed.leaves_nothing()


@pytest.mark.parametrize("kind", possible_kinds())
def test_an_interrupt_from_the_terminal_reaches_the_run_process_only(start, kind):
    enclosed = start(kind)
    os.killpg(enclosed.process.pid, signal.SIGINT)
    assert enclosed.rest() == "interrupted\nstatus 7\n"
    assert enclosed.process.returncode == 0
    assert enclosed.leaves_nothing()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kind", possible_kinds())
def test_a_signal_to_the_whole_group_interrupts_once(start, kind, number):
    enclosed = start(kind)
    os.killpg(enclosed.process.pid, number)
    assert enclosed.rest() == "interrupted\nstatus 7\n"
    assert enclosed.leaves_nothing()


def test_the_watcher_keeps_neither_terminal_nor_output_open(start):
    watcher = start(Enclosure.TETHER).named()["watcher"].pid
    assert until(lambda: os.getsid(watcher) == watcher)
    outputs = {str(Path(f"/proc/{watcher}/fd/{number}").readlink()) for number in (0, 1, 2)}
    assert outputs == {"/dev/null"}
    assert str(Path(f"/proc/{watcher}/cwd").readlink()) == "/"


def test_inside_namespaces_the_run_sees_only_its_own_processes(start):
    if available() is Enclosure.TETHER:
        pytest.skip("no namespaces here")
    enclosed = start(available())
    run_process = enclosed.named()["run process"]
    status = Path(f"/proc/{run_process.pid}/status").read_text()
    pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    assert pids[-1] == "2", "init is 1, the run process comes next"


def test_the_handlers_of_the_caller_are_restored(start):
    code = (
        "import signal, sys, pathlib\n"
        "from mastery.components.enclosure import enclose\n"
        "from mastery.components.run_folder import make_run_folder\n"
        "before = [signal.getsignal(n) for n in (2, 15, 1)]\n"
        "with make_run_folder(pathlib.Path(sys.argv[1]), sys.argv[2]) as run:\n"
        "    assert enclose(lambda: 5, run=run) == 5\n"
        "    assert [signal.getsignal(n) for n in (2, 15, 1)] == before\n"
        "    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()\n"
    )
    runs = start(Enclosure.TETHER, "0").runs
    subprocess.run([sys.executable, "-c", code, str(runs), f"h{secrets.token_hex(5)}"], check=True, timeout=20)
