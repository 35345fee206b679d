"""Starts a program of a run, waits until it answers, kills and stops it: once, for every server we use."""

import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mastery.components import belongings, linux, processes
from mastery.components.belongings import RUN_VARIABLE, Kind
from mastery.components.component import Site
from mastery.errors import DomainError, MachineCannot, MasteryError

_TAIL_BYTES = 4000
_TAIL_LINES = 12
_LONGEST_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Command:
    """What to start: the arguments with the executable's path first, and where."""

    name: str
    """What the user calls it, for messages."""
    arguments: tuple[str, ...]
    folder: Path
    """Its working folder, which also receives its log."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to an environment that is otherwise the same on every machine."""
    needs_ordinary_user: bool = False
    """It refuses root and users without a name: from those it is started in a user namespace under another number."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"


class Program:
    """A started program; whoever starts it must live as long as it, because it dies with its starter."""

    def __init__(self, command: Command, process: "subprocess.Popen[bytes]") -> None:
        self._command = command
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, answers: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
        """Asks until `answers()` is true, which speaks the program's protocol; DomainError when that does not come."""
        deadline = time.monotonic() + timeout_s
        pause_s = 0.002
        while not answers():
            if not self.is_running():
                raise self.failure(f"ended with {_spoken(self._process.returncode)} before it answered")
            if time.monotonic() > deadline:
                self.kill()
                raise self.failure(f"did not answer within {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def kill(self) -> None:
        """SIGKILL for the program and everything it started, at once; returns when they are gone."""
        self._process.poll()
        if self._process.returncode is None:
            below = processes.descendants(self.pid)
            self._process.kill()
            for each in below:
                processes.send(each, signal.SIGKILL)
            self._process.wait()
            left = processes.wait_until_gone(below, timeout_s=10)
            if left:
                raise self.failure(f"left process {left[0].pid} that does not end")

    def pause(self) -> None:
        """SIGSTOP for the program and everything it started: it keeps its connections and answers nothing."""
        self._send_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT for all of them."""
        self._send_all(signal.SIGCONT)

    def _send_all(self, number: signal.Signals) -> None:
        if self.is_running():
            # The parent first: it must not start another child, or end one that does not answer, in between.
            self._process.send_signal(number)
            for each in processes.descendants(self.pid):
                processes.send(each, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 10.0) -> None:
        """Asks it to end by its own signal, and kills it when it has not ended in time; may be called twice."""
        if self.is_running():
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def failure(self, what: str) -> DomainError:
        """An error that says what happened to the program and how its log ends."""
        return DomainError(
            f"{self._command.name} {what}.{_tail(self._command.log)}",
            remedy="Read what its log says above; `mastery doctor` shows what this machine offers.",
        )


def start(command: Command, site: Site) -> Program:
    """Starts the program in the background, its output in its log.

    It is written down for the watcher first. MachineCannot when there is no such program or it cannot be started as
    it must be. Call it from the main thread: the kernel ties a program's life to the *thread* that started it.
    """
    assert threading.current_thread() is threading.main_thread(), "a program dies with the thread that started it"
    process = _spawn(command, site)
    identity = processes.identify(process.pid)
    if identity is not None:
        belongings.record(site.folder, Kind.PROCESS, identity.encode())
    return Program(command, process)


def run_to_end(command: Command, site: Site, *, timeout_s: float = 60.0) -> None:
    """Runs a program that ends by itself (initdb); DomainError with the end of its log when it fails."""
    process = _spawn(command, site)
    program = Program(command, process)
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        program.kill()
        raise program.failure(f"did not end within {timeout_s:g} s") from None
    except BaseException:
        program.kill()
        raise
    if status != 0:
        raise program.failure(f"ended with {_spoken(status)}")


def _spawn(command: Command, site: Site) -> "subprocess.Popen[bytes]":
    executable = Path(command.arguments[0])
    belongings.record(site.folder, Kind.PROGRAM, str(executable.resolve()))
    # Little is inherited: the user's PGHOST, LD_PRELOAD or locale must not decide what is measured.
    environment = {"PATH": os.defpath, "HOME": str(command.folder), "LC_ALL": "C", "TZ": "UTC", RUN_VARIABLE: site.run}
    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command.arguments,
            cwd=command.folder,
            env=environment | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
            # This process is single-threaded by design (see `start`).
            preexec_fn=_preparation(command, starter=os.getpid()),  # noqa: PLW1509 - see above
        )
    except FileNotFoundError as absent:
        raise MachineCannot(f"{command.name} is not at {executable}.", remedy="Run `mastery doctor`.") from absent
    except (OSError, subprocess.SubprocessError) as refused:
        raise _cannot_start(command, refused) from refused
    finally:
        os.close(log)


def _cannot_start(command: Command, refused: Exception) -> MasteryError:
    if command.needs_ordinary_user and not _is_ordinary(os.geteuid()):
        return MachineCannot(
            f"{command.name} refuses to run as user {os.geteuid()}, and this machine gives it no user namespace.",
            remedy="Run mastery as an ordinary user.",
        )
    return MachineCannot(f"{command.name} cannot be started: {refused}.", remedy="Run `mastery doctor`.")


def _preparation(command: Command, *, starter: int) -> Callable[[], None] | None:
    if not linux.IS_LINUX:
        return None
    number = _ordinary_user() if command.needs_ordinary_user and not _is_ordinary(os.geteuid()) else None

    def prepare() -> None:
        if number is not None:
            linux.call_ourselves(number)
        # After the change of namespace: a change of credentials may make the kernel forget it.
        linux.signal_at_death_of_parent()
        if os.getppid() != starter:
            os._exit(1)

    return prepare


def first_free(base: Path, name: str) -> Path:
    """A new folder of mode 0700 called name0, name1 ...: several servers of a kind live in one run."""
    number = 0
    while True:
        try:
            (folder := base / f"{name}{number}").mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder.absolute()


def _is_ordinary(user: int) -> bool:
    try:
        return pwd.getpwuid(user).pw_uid != 0
    except KeyError:
        return False


def _ordinary_user() -> int:
    # Any number with a name will do: inside the namespace it stands for us, and outside for nobody.
    return min((each.pw_uid for each in pwd.getpwall() if each.pw_uid != 0), key=lambda user: (user < 1000, user), default=1000)


def _spoken(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return ""
    return " Its log ends:\n" + "\n".join(f"    {line}" for line in lines) if lines else " Its log is empty."
