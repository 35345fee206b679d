"""PostgreSQL as a component: a private server of our own, several at once, crashed and restarted on purpose."""

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastery.components import belongings, program, shared_memory
from mastery.components.belongings import Kind
from mastery.components.component import Here, Missing, Scope, Site
from mastery.components.postgres_binaries import Binaries, find_binaries
from mastery.components.postgres_session import (
    APPLICATION,
    PostgresAddress,
    address_in,
    connect,
    driver_is_here,
    read_configuration,
    read_counters,
)
from mastery.components.postgres_target import PostgresTarget, find_target
from mastery.components.program import Command, Program
from mastery.components.targets import Leave
from mastery.errors import MachineCannot

if TYPE_CHECKING:
    from psycopg import Connection

_OWNER = "mastery"
_DATABASE = "mastery"


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """The declaration: at least which version, with which settings (PostgreSQL's own names and values)."""

    minimum: int = 14
    settings: Mapping[str, str] = field(default_factory=dict)
    scope: Scope = Scope.RUN
    name: str = "postgres"

    def find(self, site: Site) -> Here | Missing:
        """The user's own server when the site names one, else the first PostgreSQL that we could start."""
        if not driver_is_here():
            return Missing("the driver psycopg is not installed", "pip install 'backend-mastery[postgres]'", extra="postgres")
        target = site.targets.get(self.name)
        if target is not None:
            return find_target(target, minimum=self.minimum, leave=Leave.of(site))
        found = find_binaries(site, minimum=self.minimum)
        return found if isinstance(found, Missing) else Here(found.how, found.version)

    def start(self, site: Site, settings: Mapping[str, str]) -> "PostgresServer | PostgresTarget":
        """Starts a server of our own, or begins our stay on the user's; a target takes no settings from us."""
        target = site.targets.get(self.name)
        if target is not None:
            merged = {**self.settings, **settings}
            return PostgresTarget.begin(target, minimum=self.minimum, settings=merged, leave=Leave.of(site))
        found = find_binaries(site, minimum=self.minimum)
        if isinstance(found, Missing):
            raise MachineCannot(f"PostgreSQL cannot be had: {found.reason}.", remedy=found.remedy)
        return PostgresServer.begin(site, found, {**self.settings, **settings})


class PostgresServer:
    """A server of our own: one Unix socket in a folder of mode 0700, no TCP port, nobody else on it."""

    def __init__(self, site: Site, binaries: Binaries, settings: Mapping[str, str], data: Path) -> None:
        self._site = site
        self._binaries = binaries
        self._settings = dict(settings)
        self._folder = program.first_free(site.folder, "postgres")
        self._sockets = program.first_free(site.sockets, "pg")
        self._data = data if data.is_absolute() else self._folder / data
        self._program: Program | None = None
        self._fresh_made = 0
        self._left_behind: list[str] = []

    @classmethod
    def begin(cls, site: Site, binaries: Binaries, settings: Mapping[str, str], *, data: Path = Path("data")) -> "PostgresServer":
        """Makes an empty server and starts it; an absolute `data` puts its data elsewhere, say on a disk that will be cut."""
        server = cls(site, binaries, settings, data)
        program.run_to_end(
            server._command(
                "initdb",
                # Trust is safe here and only here: who can reach the socket can read the data files as well.
                ("-D", str(server._data), "-U", _OWNER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"),
            ),
            site,
        )
        server.restart()
        with server._administer("postgres") as connection:
            connection.execute(f"create database {_DATABASE}")
        return server

    @property
    def data(self) -> Path:
        """The folder of its data files."""
        return self._data

    @property
    def conninfo(self) -> str:
        """For the database that holds the trials' schemas; there is no password, the socket's folder is the fence."""
        return self._conninfo(_DATABASE)

    @property
    def pid(self) -> int | None:
        """Of the postmaster, while it runs."""
        return self._program.pid if self._program is not None and self._program.is_running() else None

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Starts it again on the same data, after `crash`, after `shut_down` or from running; `settings` replace all given before.

        DomainError with the end of its log when the data do not let it start.
        """
        self.shut_down()
        if settings is not None:
            self._settings = dict(settings)
        ours = {"listen_addresses": "", "unix_socket_directories": str(self._sockets), "unix_socket_permissions": "0700"}
        words = [word for name, value in {**self._settings, **ours}.items() for word in ("-c", f"{name}={value}")]
        self._program = program.start(self._command("postgres", ("-D", str(self._data), *words)), self._site)
        self._program.wait_until_ready(self._answers)
        for segment in shared_memory.describe(self._program.pid):
            belongings.record(self._site.folder, Kind.SHARED_MEMORY, segment)

    def shut_down(self) -> None:
        """Ends it in order, with a checkpoint; the data stay."""
        if self._program is not None:
            self._program.stop(signal.SIGINT, timeout_s=30)

    def crash(self) -> None:
        """SIGKILL for the whole server at once, as when the kernel kills it; the data stay as they are in the page cache."""
        if self._program is not None:
            self._program.kill()

    def pause(self) -> None:
        """SIGSTOP for the whole server: connections stay open and nothing answers."""
        if self._program is not None:
            self._program.pause()

    def resume(self) -> None:
        """Lets a paused server go on."""
        if self._program is not None:
            self._program.resume()

    def stop(self) -> None:
        """Ends it and removes its data."""
        if self._program is not None:
            # Without a checkpoint, since the data go; yet not killed, for it removes its shared memory by itself.
            self._program.stop(signal.SIGQUIT)
        for folder in (self._data, self._folder, self._sockets):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def fresh(self, name: str) -> Iterator[PostgresAddress]:
        """An empty schema for one trial; a server that the trial crashed is started again by the next one."""
        if self.pid is None:
            self.restart()
        self._fresh_made += 1
        schema = f"trial_{self._fresh_made}_{''.join(each if each.isalnum() else '_' for each in name.lower())[:40]}"
        if not schema.isascii():
            schema = f"trial_{self._fresh_made}"
        with self._administer() as connection:
            self._drop(connection)
            connection.execute(f"create schema {schema}")
        self._left_behind.append(schema)
        try:
            yield address_in(self.conninfo, schema)
        finally:
            if self.pid is not None:
                with self._administer() as connection:
                    self._drop(connection)

    def configuration(self) -> Mapping[str, str]:
        with self._administer() as connection:
            return {"name": "PostgreSQL", "how": self._binaries.how, **read_configuration(connection)}

    def counters(self) -> Mapping[str, float]:
        with self._administer() as connection:
            return read_counters(connection)

    def _drop(self, connection: "Connection[tuple[Any, ...]]") -> None:
        if not self._left_behind:
            return
        # A killed trial's sessions and prepared transactions would keep their locks, and the drop would wait for them.
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        for (prepared,) in connection.execute("select gid from pg_prepared_xacts where database = current_database()").fetchall():
            connection.execute("rollback prepared '" + prepared.replace("'", "''") + "'")
        while self._left_behind:
            connection.execute(f"drop schema if exists {self._left_behind[-1]} cascade")
            self._left_behind.pop()

    @contextmanager
    def _administer(self, database: str = _DATABASE) -> "Iterator[Connection[tuple[Any, ...]]]":
        # A connection for each errand: one kept open would be shared with every worker forked from this process.
        with connect(self._conninfo(database)) as connection:
            yield connection

    def _conninfo(self, database: str) -> str:
        # The folder's name is ours and holds neither blanks nor quotes beyond those that the user's own folders have.
        host = str(self._sockets).replace("\\", "\\\\").replace("'", "\\'")
        return (
            f"host='{host}' hostaddr='' port=5432 user={_OWNER} dbname={database} application_name={APPLICATION} connect_timeout=10"
            # Said explicitly, so that the user's PGHOSTADDR, PGOPTIONS and PGSSLMODE decide nothing here.
            " sslmode=disable gssencmode=disable options='-c client_min_messages=warning'"
        )

    def _answers(self) -> bool:
        from psycopg import OperationalError

        try:
            with connect(self._conninfo("postgres")) as connection:
                connection.execute("select 1")
        except OperationalError:
            return False
        return True

    def _command(self, tool: str, arguments: tuple[str, ...]) -> Command:
        return Command(
            name=tool, arguments=(str(self._binaries.folder / tool), *arguments), folder=self._folder, needs_ordinary_user=True
        )
