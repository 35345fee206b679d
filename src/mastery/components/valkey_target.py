"""A Valkey or Redis of the user's: what we refuse, the one key prefix that we write under, and how it is emptied."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mastery.components import targets
from mastery.components.component import Here
from mastery.components.targets import Leave, first_line
from mastery.components.valkey_session import ValkeyAddress, client_of, info, read_configuration, read_counters, version_of
from mastery.errors import DomainError, TargetRefused

if TYPE_CHECKING:
    from valkey import Valkey as Client

_KEYS_A_CALL = 500
_SECONDS_FOR_CLIENTS_TO_END = 0.5
_ENTRY_REMEDY = "Give `url` without a password, or `environment` with the name of a variable that holds the url."


def find_target(name: str, *, minimum: int, leave: Leave) -> Here:
    """The server that the user calls `name`, looked at and left untouched; TargetRefused says why it will not do."""
    return Here("target", _examine(name, minimum=minimum, leave=leave)[1])


class ValkeyTarget:
    """Our stay on a user's server: keys under one random prefix, removed one by one and never by a flush."""

    def __init__(self, name: str, address: ValkeyAddress) -> None:
        self._name = name
        self._address = address

    @classmethod
    def begin(cls, name: str, *, minimum: int, settings: Mapping[str, str], leave: Leave) -> "ValkeyTarget":
        """Examines the server again; nothing is written before the first trial."""
        if settings:
            raise TargetRefused(
                f"This experiment changes settings of the server ({', '.join(sorted(settings))}); on {name!r} nothing is changed.",
                remedy="Run it without `--target`: it then starts a server of its own.",
            )
        url, _ = _examine(name, minimum=minimum, leave=leave)
        return cls(name, ValkeyAddress(url, prefix=f"mastery_{secrets.token_hex(6)}:"))

    @property
    def how_to_drop(self) -> str:
        """The command that removes everything of ours from the server, should we be killed."""
        return f"valkey-cli --scan --pattern '{self._address.prefix}*' | xargs -r valkey-cli unlink"

    @contextmanager
    def fresh(self, name: str) -> Iterator[ValkeyAddress]:
        """The keys under our prefix, none before and none after, whatever the trial's `name`."""
        self._empty()
        try:
            yield self._address
        finally:
            self._empty()

    def configuration(self) -> Mapping[str, str]:
        with client_of(self._address) as client:
            return {"name": "Valkey", "how": "target", **read_configuration(client)}

    def counters(self) -> Mapping[str, float]:
        with client_of(self._address) as client:
            return read_counters(client)

    def stop(self) -> None:
        """Removes what is left under our prefix; DomainError with the command when the server does not let us."""
        from valkey.exceptions import ValkeyError

        try:
            self._empty()
        except ValkeyError as refused:
            raise DomainError(
                f"Our keys could not be removed from {self._name!r}: {first_line(refused)}.",
                remedy=f"Run there: {self.how_to_drop}",
            ) from refused

    def _empty(self) -> None:
        with client_of(self._address) as client:
            found: list[bytes] = []
            for key in client.scan_iter(match=f"{self._address.prefix}*", count=_KEYS_A_CALL):
                found.append(key)
                if len(found) == _KEYS_A_CALL:
                    client.unlink(*found)
                    found.clear()
            if found:
                client.unlink(*found)


def _examine(name: str, *, minimum: int, leave: Leave) -> tuple[str, str]:
    from valkey.exceptions import ValkeyError

    url = _url_of(name)
    try:
        with client_of(ValkeyAddress(url)) as client:
            return url, _judge(name, client, minimum=minimum, leave=leave)
    except (ValkeyError, OSError) as refused:
        raise TargetRefused(
            f"The server {name!r} cannot be reached or does not let us look: {first_line(refused)}.",
            remedy=f"Check it with valkey-cli, and its entry in {targets.targets_file()}.",
        ) from refused


def _judge(name: str, client: "Client", *, minimum: int, leave: Leave) -> str:
    told = info(client)
    version = version_of(told)
    if int(version.partition(".")[0]) < minimum:
        raise TargetRefused(f"{name!r} has version {version}; {minimum} is needed.", remedy="Name a newer server.")
    if told.get("role") != "master":
        raise TargetRefused(f"{name!r} is a replica: nothing can be written there.", remedy="Name a primary.")
    others = 0 if leave.shared_server == name else _others_connected(client)
    if others:
        raise TargetRefused(
            f"{name!r} is in use (other clients connected: {others}); we would disturb each other.",
            remedy=f"Choose a quiet server, or say `--shared-server {name}` if its users agreed.",
        )
    keys = sum(int(each["keys"]) for each in told.values() if isinstance(each, dict) and "keys" in each)
    # All databases of a server share its memory: what we write can push out what somebody else keeps in any of them.
    if keys:
        raise TargetRefused(f"{name!r} holds {keys} keys of yours, which our load could evict.", remedy="Name an empty server.")
    if leave.scratch != name:
        raise TargetRefused(
            f"The run would write into {name!r}, which has no databases of its own to be made and dropped.",
            remedy=f"If that server is there to be written to, repeat its name: `--scratch {name}`.",
        )
    return version


def _others_connected(client: "Client") -> int:
    """How many other clients the server has; those that are just ending, our own last one among them, are waited for."""
    deadline = time.monotonic() + _SECONDS_FOR_CLIENTS_TO_END
    while (others := int(info(client)["connected_clients"]) - 1) > 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    return others


def _url_of(name: str) -> str:
    said = targets.entry("valkey", name, example='url = "redis://HOST:6379/0"')
    match said:
        case {"environment": str(variable)}:
            url = targets.from_environment("valkey", name, variable)
        case {"url": str(url)}:
            pass
        case _:
            raise targets.refuse_entry("valkey", name, "has neither `url` nor `environment`", remedy=_ENTRY_REMEDY)
    try:
        parts = urlsplit(url)
        password = parts.password or "password=" in parts.query
    except ValueError:
        raise targets.refuse_entry("valkey", name, "is not a url", remedy=_ENTRY_REMEDY) from None
    if parts.scheme not in {"redis", "rediss", "valkey", "valkeys", "unix"}:
        raise targets.refuse_entry("valkey", name, "is not a url of Valkey or Redis", remedy=_ENTRY_REMEDY)
    if "url" in said and password:
        raise targets.refuse_entry("valkey", name, "holds a password", remedy=_ENTRY_REMEDY)
    return url
