"""What holds for any Valkey or Redis, ours or the user's: the address of a trial's data, its configuration, its counters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from mastery.errors import NeedsExtra

if TYPE_CHECKING:
    from valkey import Valkey as Client

# By allow-list, because a server's settings also hold passwords, hosts and paths.
_TELLING_SETTINGS = frozenset(
    (
        "activedefrag", "appendfsync", "appendonly", "aof-use-rdb-preamble", "hash-max-listpack-entries", "hz", "io-threads",
        "lazyfree-lazy-user-del", "list-max-listpack-size", "maxmemory", "maxmemory-policy", "maxmemory-samples",
        "no-appendfsync-on-rewrite", "save", "set-max-intset-entries", "zset-max-listpack-entries",
    )
)  # fmt: skip
_TELLING_COUNTERS = {
    "total_commands_processed": "commands",
    "expired_keys": "expired_keys",
    "evicted_keys": "evicted_keys",
    "keyspace_hits": "hits",
    "keyspace_misses": "misses",
    "total_forks": "forks",
    "rdb_saves": "snapshots",
    "aof_rewrites": "append_only_rewrites",
}


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    """Where a trial finds its empty data: every key that it uses must begin with `prefix`."""

    url: str = field(repr=False)
    """May hold a password of the user's: never printed."""
    prefix: str = ""

    def connect(self) -> "Client":
        """A client of the caller's own; after a fork, each process makes its own."""
        return _connect(self.url)


def driver_is_here() -> bool:
    """Whether the client library can be imported, without importing it."""
    from importlib.util import find_spec

    return find_spec("valkey") is not None


@contextmanager
def client_of(address: ValkeyAddress) -> "Iterator[Client]":
    """A client for one errand."""
    with address.connect() as client:
        yield client


def _connect(url: str) -> "Client":
    try:
        import valkey
    except ModuleNotFoundError:
        raise NeedsExtra("valkey", why="Talking to Valkey") from None
    # Said here and not by every experiment: a client that tries again by itself hides the failures that we count.
    from valkey.backoff import NoBackoff
    from valkey.retry import Retry

    client: Client = valkey.Valkey.from_url(url, socket_connect_timeout=10, retry=Retry(NoBackoff(), 0), retry_on_timeout=False)
    return client


def ask(client: "Client", words: str) -> object:
    """One command as it is written, for what the library has no method for."""
    return cast("Any", client).execute_command(words)


def info(client: "Client") -> Mapping[str, Any]:
    """Everything that the server tells about itself."""
    # The library types its answers for the asynchronous client as well; this one waits.
    return cast("Mapping[str, Any]", client.info("everything"))


def read_configuration(client: "Client") -> Mapping[str, str]:
    """Version and the settings that decide figures; a managed server that hides its settings tells its version only."""
    from valkey.exceptions import ResponseError

    try:
        settings = cast("Mapping[object, object]", client.config_get("*"))
    except ResponseError:
        settings = {}
    told = {_text(name): _text(value) for name, value in settings.items()}
    return {"version": version_of(info(client)), **{name: told[name] for name in sorted(told) if name in _TELLING_SETTINGS}}


def version_of(told: Mapping[str, Any]) -> str:
    """Valkey also tells the version of Redis that it is compatible with: its own comes first."""
    return str(told.get("valkey_version") or told.get("redis_version"))


def read_counters(client: "Client") -> Mapping[str, float]:
    """What the server did so far; take the difference of two readings."""
    told = info(client)
    return {ours: float(told[theirs]) for theirs, ours in _TELLING_COUNTERS.items() if theirs in told}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
