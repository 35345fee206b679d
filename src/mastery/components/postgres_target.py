"""A PostgreSQL of the user's: what we refuse, the one scratch place that we make there, and how it is dropped."""

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mastery.components import targets
from mastery.components.component import Here
from mastery.components.postgres_session import APPLICATION, PostgresAddress, address_in, connect, read_configuration, read_counters
from mastery.components.targets import GUEST, OWNER, Allowance, Leave, Leftover, first_line
from mastery.errors import DomainError, TargetRefused

if TYPE_CHECKING:
    from psycopg import Connection

_SCRATCH_NAME = re.compile(rf"{APPLICATION}_[0-9a-f]{{12}}")
_SECONDS_FOR_SESSIONS_TO_END = 0.5
_COMMENT = "made by Backend Engineering Mastery; safe to drop"


@dataclass(frozen=True, slots=True)
class _Examined:
    version: str
    database: str
    may_create_databases: bool
    conninfo: str = field(repr=False)


def find_target(name: str, *, minimum: int, leave: Leave) -> Here:
    """The server that the user calls `name`, looked at and left untouched; TargetRefused says why it will not do."""
    return Here("target", _examine(name, minimum=minimum, leave=leave).version)


class PostgresTarget:
    """Our stay on a user's server: one scratch database (or schema), made at the start and dropped at the end."""

    def __init__(self, name: str, examined: _Examined, limits: Allowance) -> None:
        self._name = name
        self._examined = examined
        self.limits = limits
        self.scratch = f"{APPLICATION}_{secrets.token_hex(6)}"
        self._owns_database = examined.may_create_databases
        self._is_made = False
        self._log_began = ""
        self._told_settings = (
            f"-c lock_timeout={limits.lock_timeout_ms} -c statement_timeout={limits.statement_timeout_ms}"
            f" -c idle_in_transaction_session_timeout={limits.duration_s * 1000:.0f}"
        )

    @classmethod
    def begin(
        cls, name: str, *, minimum: int, settings: Mapping[str, str], leave: Leave, limits: Allowance | None = None
    ) -> "PostgresTarget":
        """Examines the server again and makes the scratch place; TargetRefused leaves it as it was."""
        if settings:
            raise TargetRefused(
                f"This experiment changes settings of the server ({', '.join(sorted(settings))}); on {name!r} nothing is changed.",
                remedy="Run it without `--target`: it then starts a server of its own.",
            )
        limits = limits or (OWNER if leave.owned == name else GUEST)
        target = cls(name, _examine(name, minimum=minimum, leave=leave), limits)
        target._log_began = target._log_position()
        target._make()
        return target

    @property
    def how_to_drop(self) -> str:
        """The statement that removes everything of ours from the server, should we be killed."""
        return f"drop database {self.scratch} with (force)" if self._owns_database else f"drop schema {self.scratch} cascade"

    @contextmanager
    def fresh(self, name: str) -> Iterator[PostgresAddress]:
        """The one schema of ours, emptied before and after: trials come one at a time."""
        schema = "trial" if self._owns_database else self.scratch
        address = address_in(self._conninfo(inside=True), schema)
        with self._administer(inside=True) as connection:
            _empty(connection, schema, make=True)
        try:
            yield address
        finally:
            with self._administer(inside=True) as connection:
                self._end_our_sessions(connection)
                _empty(connection, schema, make=not self._owns_database)

    def configuration(self) -> Mapping[str, str]:
        with self._administer(inside=True) as connection:
            return {"name": "PostgreSQL", "how": "target", **read_configuration(connection)}

    def counters(self) -> Mapping[str, float]:
        with self._administer(inside=True) as connection:
            return read_counters(connection)

    def leftovers(self) -> tuple[Leftover, ...]:
        """What killed runs of ours left here: our name, our mark, our role, and nobody connected."""
        with self._administer() as connection:
            rows = connection.execute(
                "select datname, 'drop database ' || datname from pg_database d"
                " where shobj_description(d.oid, 'pg_database') = %(mark)s and datdba = current_user::regrole"
                " and not exists (select from pg_stat_activity a where a.datid = d.oid)"
                " union all select nspname, 'drop schema ' || nspname || ' cascade' from pg_namespace n"
                " where obj_description(n.oid, 'pg_namespace') = %(mark)s and nspowner = current_user::regrole"
                " and not exists (select from pg_stat_activity a where a.application_name = nspname)",
                {"mark": _COMMENT},
            ).fetchall()
        return tuple(Leftover(name, drop) for name, drop in rows if _SCRATCH_NAME.fullmatch(name) and name != self.scratch)

    def exceeded(self) -> str | None:
        """Says how much write-ahead log the server has written since we came, when that is more than we may."""
        with self._administer() as connection:
            query = "select pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)"
            written = int((connection.execute(query, [self._log_began]).fetchone() or (0,))[0])
        if written <= self.limits.wal_bytes:
            return None
        allowed = f"{self.limits.wal_bytes / 2**20:.0f} MiB are allowed"
        return f"{self._name!r} has written {written / 2**20:.0f} MiB of write-ahead log since the start; {allowed}."

    def _log_position(self) -> str:
        import psycopg

        try:
            with self._administer() as connection:
                return str((connection.execute("select pg_current_wal_lsn()").fetchone() or ("",))[0])
        except psycopg.Error as refused:
            raise TargetRefused(
                f"{self._name!r} does not tell how much log it writes: {first_line(refused)}.",
                remedy="Without that we cannot keep within what we promise; run without `--target`.",
            ) from refused

    def stop(self) -> None:
        """Drops the scratch place; DomainError with the statement when the server does not let us."""
        if not self._is_made:
            return
        import psycopg

        try:
            with self._administer() as connection:
                self._end_our_sessions(connection)
                connection.execute(self.how_to_drop)
        except psycopg.Error as refused:
            raise DomainError(
                f"{self.scratch!r} could not be dropped from {self._name!r}: {first_line(refused)}.",
                remedy=f"Run there: {self.how_to_drop}",
            ) from refused
        self._is_made = False

    def _make(self) -> None:
        import psycopg

        kind = "database" if self._owns_database else "schema"
        limit = f" template template0 connection limit {self.limits.connections + 2}" if self._owns_database else ""
        try:
            with self._administer() as connection:
                connection.execute(f"create {kind} {self.scratch}{limit}")
                self._is_made = True
                connection.execute(f"comment on {kind} {self.scratch} is '{_COMMENT}'")
        except psycopg.Error as refused:
            self.stop()
            raise TargetRefused(
                f"{self._name!r} does not let us make a {kind} of our own: {first_line(refused)}.",
                remedy="Grant the role CREATEDB, or name a database in which it may create schemas.",
            ) from refused

    def _end_our_sessions(self, connection: "Connection[tuple[Any, ...]]") -> None:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name = %s and usename = current_user and pid <> pg_backend_pid()",
            [self.scratch],
        )

    def _conninfo(self, *, inside: bool) -> str:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        given = str(conninfo_to_dict(self._examined.conninfo).get("options") or "")
        words: dict[str, str] = {"application_name": self.scratch, "options": f"{given} {self._told_settings}".strip()}
        if inside and self._owns_database:
            words["dbname"] = self.scratch
        return make_conninfo(self._examined.conninfo, **words)

    @contextmanager
    def _administer(self, *, inside: bool = False) -> "Iterator[Connection[tuple[Any, ...]]]":
        with connect(self._conninfo(inside=inside)) as connection:
            yield connection


def _empty(connection: "Connection[tuple[Any, ...]]", schema: str, *, make: bool) -> None:
    connection.execute(f"drop schema if exists {schema} cascade")
    if make:
        connection.execute(f"create schema {schema}")
        connection.execute(f"comment on schema {schema} is '{_COMMENT}'")


def _examine(name: str, *, minimum: int, leave: Leave) -> _Examined:
    import psycopg

    conninfo = _conninfo_of(name)
    try:
        with connect(conninfo) as connection:
            return _judge(name, connection, conninfo, minimum=minimum, leave=leave)
    except psycopg.OperationalError as refused:
        raise TargetRefused(
            f"The server {name!r} cannot be reached: {first_line(refused)}.",
            remedy=f"Check it with psql, and its entry in {targets.targets_file()}.",
        ) from refused


def _judge(name: str, connection: "Connection[tuple[Any, ...]]", conninfo: str, *, minimum: int, leave: Leave) -> _Examined:
    row = connection.execute(
        "select pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', current_database(),"
        " (select rolcreatedb or rolsuper from pg_roles where rolname = current_user),"
        " has_database_privilege(current_database(), 'create')"
    ).fetchone()
    assert row is not None, "a select without from has one row"
    standby, read_only, database, may_create_databases, may_create_schemas = row
    version = connection.info.server_version // 10_000
    if version < minimum:
        raise TargetRefused(f"{name!r} is PostgreSQL {version}; {minimum} is needed.", remedy="Name a newer server.")
    if standby or read_only:
        raise TargetRefused(
            f"{name!r} is {'a standby' if standby else 'read-only'}: nothing can be made there, and writes are what we measure.",
            remedy="Name a primary that you may write to.",
        )
    others = 0 if leave.shared_server == name else _others_connected(connection)
    if others:
        raise TargetRefused(
            f"{name!r} is in use (other sessions connected: {others}); we would disturb each other.",
            remedy=f"Choose a quiet server, or say `--shared-server {name}` if its users agreed.",
        )
    if not may_create_databases:
        _judge_scratch_database(name, connection, str(database), bool(may_create_schemas), leave)
    return _Examined(str(version), str(database), bool(may_create_databases), conninfo)


def _others_connected(connection: "Connection[tuple[Any, ...]]") -> int:
    """How many other sessions the server has; those that are just ending, our own last one among them, are waited for."""
    deadline = time.monotonic() + _SECONDS_FOR_SESSIONS_TO_END
    while True:
        # Of other roles' sessions an ordinary role sees neither kind nor state: those count as in use.
        row = connection.execute(
            "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and datname is not null"
            " and usename is not null and coalesce(backend_type, 'client backend') = 'client backend'"
        ).fetchone()
        assert row is not None, "an aggregate has one row"
        if row[0] == 0 or time.monotonic() > deadline:
            return int(row[0])
        time.sleep(0.02)


def _judge_scratch_database(
    name: str, connection: "Connection[tuple[Any, ...]]", database: str, may_create_schemas: bool, leave: Leave
) -> None:
    row = connection.execute(
        "select count(*), min(n.nspname || '.' || c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
        " and n.nspname !~ %s and not exists (select from pg_depend d"
        "  where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')",
        [f"^{_SCRATCH_NAME.pattern}$"],
    ).fetchone()
    assert row is not None, "an aggregate has one row"
    relations, example = row
    if relations:
        raise TargetRefused(
            f"The database {database!r} of {name!r} holds {relations} relations of yours ({example} ...),"
            " and its role may not create a database for us.",
            remedy="Grant the role CREATEDB, or name an empty database.",
        )
    if not may_create_schemas:
        raise TargetRefused(
            f"The role of {name!r} may create neither databases nor schemas in {database!r}.",
            remedy=f"Grant it: GRANT CREATE ON DATABASE {database} TO ...",
        )
    if leave.scratch != database:
        raise TargetRefused(
            f"Its role may not create a database, so the run would work inside {database!r} of {name!r}.",
            remedy=f"If that database is there to be written to, repeat its name: `--scratch {database}`.",
        )


_ENTRY_REMEDY = (
    "Give `service` (of your pg_service.conf), `dsn` without a password (that goes into .pgpass),"
    " or `environment` with the name of a variable that holds the connection string."
)


def _conninfo_of(name: str) -> str:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    said = targets.entry("postgres", name, example='service = "NAME IN YOUR pg_service.conf"')
    match said:
        case {"service": str(service)}:
            conninfo = make_conninfo("", service=service)
        case {"environment": str(variable)}:
            conninfo = targets.from_environment("postgres", name, variable)
        case {"dsn": str(conninfo)}:
            pass
        case _:
            raise targets.refuse_entry("postgres", name, "has none of `service`, `dsn` and `environment`", remedy=_ENTRY_REMEDY)
    try:
        words = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # Its message would repeat the text, password and all.
        raise targets.refuse_entry("postgres", name, "is not a connection string of PostgreSQL", remedy=_ENTRY_REMEDY) from None
    if "dsn" in said and ("password" in words or "sslpassword" in words):
        raise targets.refuse_entry("postgres", name, "holds a password", remedy=_ENTRY_REMEDY)
    return make_conninfo(conninfo, application_name=APPLICATION, connect_timeout=words.get("connect_timeout") or 10)
