"""What holds for any PostgreSQL, ours or the user's: the address of a trial's data, its configuration, its counters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mastery.errors import NeedsExtra

if TYPE_CHECKING:
    from psycopg import Connection

APPLICATION = "mastery"

# By allow-list, because a server's settings also hold hosts, paths and user names.
_TELLING_SETTINGS = (
    "autovacuum", "block_size", "checkpoint_completion_target", "checkpoint_timeout", "commit_delay", "commit_siblings",
    "data_checksums", "deadlock_timeout", "default_transaction_isolation", "effective_cache_size", "effective_io_concurrency",
    "fsync", "full_page_writes", "huge_pages", "io_method", "jit", "lock_timeout", "max_connections",
    "max_parallel_workers_per_gather", "max_pred_locks_per_page", "max_pred_locks_per_relation",
    "max_pred_locks_per_transaction", "max_wal_size", "random_page_cost", "shared_buffers", "statement_timeout",
    "synchronous_commit", "track_io_timing", "wal_buffers", "wal_compression", "wal_level", "wal_sync_method",
    "wal_writer_delay", "wal_writer_flush_after", "work_mem",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a trial finds its empty data: connections made with `conninfo` see `schema` first, and create in it."""

    conninfo: str = field(repr=False)
    """May hold a password of the user's: never printed."""
    schema: str

    def connect(self, *, autocommit: bool = False) -> "Connection[tuple[Any, ...]]":
        """A connection of the caller's own; after a fork, each process makes its own."""
        return connect(self.conninfo, autocommit=autocommit)


def driver_is_here() -> bool:
    """Whether the driver can be imported, without importing it."""
    from importlib.util import find_spec

    return find_spec("psycopg") is not None


def connect(conninfo: str, *, autocommit: bool = True) -> "Connection[tuple[Any, ...]]":
    """A connection by psycopg; NeedsExtra without the driver, psycopg's own OperationalError when nobody answers."""
    try:
        import psycopg
    except ModuleNotFoundError:
        raise NeedsExtra("postgres", why="Talking to PostgreSQL") from None
    return psycopg.connect(conninfo, autocommit=autocommit)


def address_in(conninfo: str, schema: str) -> PostgresAddress:
    """The address of `schema` on the server of `conninfo`, whose own options are kept."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    given = str(conninfo_to_dict(conninfo).get("options") or "")
    return PostgresAddress(make_conninfo(conninfo, options=f"{given} -c search_path={schema}".strip()), schema)


def read_configuration(connection: "Connection[tuple[Any, ...]]") -> Mapping[str, str]:
    """Version and the settings that decide figures, with their units; nothing that tells who or where."""
    rows = connection.execute(
        "select name, setting || coalesce(' x ' || unit, '') from pg_settings where name = any(%s) order by name",
        [list(_TELLING_SETTINGS)],
    ).fetchall()
    version = connection.info.server_version
    return {"version": f"{version // 10_000}.{version % 10_000}", **{name: str(value) for name, value in rows}}


def read_counters(connection: "Connection[tuple[Any, ...]]") -> Mapping[str, float]:
    """What the server did so far; take the difference of two readings."""
    version = connection.info.server_version
    parts = [
        "select 'checkpoints_timed', num_timed from pg_stat_checkpointer"
        " union all select 'checkpoints_requested', num_requested from pg_stat_checkpointer"
        if version >= 170_000
        else "select 'checkpoints_timed', checkpoints_timed from pg_stat_bgwriter"
        " union all select 'checkpoints_requested', checkpoints_req from pg_stat_bgwriter",
        "select 'wal_bytes', wal_bytes from pg_stat_wal",
        "select 'wal_full_page_images', wal_fpi from pg_stat_wal",
        "select 'autovacuums', coalesce(sum(autovacuum_count + autoanalyze_count), 0) from pg_stat_all_tables",
        *(
            f"select '{ours}', {theirs} from pg_stat_database where datname = current_database()"  # noqa: S608 - names below
            for ours, theirs in (
                ("commits", "xact_commit"),
                ("rollbacks", "xact_rollback"),
                ("deadlocks", "deadlocks"),
                ("temporary_bytes", "temp_bytes"),
            )
        ),
    ]
    rows = connection.execute(" union all ".join(f"({part})" for part in parts)).fetchall()
    return {name: float(value) for name, value in rows}
