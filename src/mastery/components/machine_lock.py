"""One measuring at a time on a machine, across its users: two at once would measure each other."""

import errno
import fcntl
import os
import pwd
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mastery.components.linux import IS_LINUX
from mastery.errors import Busy

NAME = "mastery-measuring"
_RETRY_S = 0.05


@contextmanager
def measure_alone(run: str, *, wait: bool = False, timeout_s: float | None = None, name: str = NAME) -> Iterator[tuple[int, ...]]:
    """Holds the machine for `run`; yields the descriptors that only the main process may keep open.

    Raises Busy, naming the holder, when another run holds it, with `wait` only after `timeout_s` (None: never).
    """
    take = _take_socket if IS_LINUX else _take_file
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (held := take(run, name)) is None:
        left_s = None if deadline is None else deadline - time.monotonic()
        if not wait or (left_s is not None and left_s <= 0):
            raise Busy(
                f"This machine is measuring already: {_describe_holder(name)}.",
                remedy="Wait for it with `--wait`, or end that run.",
            )
        _wait_for_release(name, left_s)
    try:
        yield held
    finally:
        for descriptor in held:
            os.close(descriptor)


def _take_socket(run: str, name: str) -> tuple[int, ...] | None:
    # An abstract socket needs no folder that all users can write to, and the kernel frees it at death.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as label:
        try:
            lock.bind(f"\0{name}")
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            return None
        lock.listen(128)
        # Everybody can list the names of abstract sockets: the second one tells which run it is.
        label.bind(f"\0{name}/{run}/{secrets.token_hex(4)}")
        return lock.detach(), label.detach()


def _describe_holder(name: str) -> str:
    if not IS_LINUX:
        return _lock_path(name).read_text(encoding="utf-8", errors="replace").strip() or "another run"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{name}")
        except OSError:
            return "a run that is just ending"
        pid, user, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    names = [line.rpartition(" ")[2] for line in Path("/proc/net/unix").read_text().splitlines()]
    runs = [each.split("/")[1] for each in names if each.startswith(f"@{name}/") and each.count("/") == 2]
    return f"{f'run {runs[0]!r}' if runs else 'a run'} of user {_user_name(user)}, process {pid}"


def _user_name(user: int) -> str:
    try:
        return repr(pwd.getpwuid(user).pw_name)
    except KeyError:
        return str(user)


def _wait_for_release(name: str, timeout_s: float | None) -> None:
    if not IS_LINUX:
        time.sleep(_RETRY_S)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.settimeout(timeout_s)
        try:
            waiting.connect(f"\0{name}")
            # Nobody ever answers: the call ends when the holder does.
            waiting.recv(1)
        except (BlockingIOError, InterruptedError):
            # So many are waiting that the queue is full.
            time.sleep(_RETRY_S)
        except OSError:
            return


def _lock_path(name: str) -> Path:
    return Path("/tmp") / f"{name}.lock"  # noqa: S108 - shared by all users by intent; nothing in it is trusted


def _take_file(run: str, name: str) -> tuple[int, ...] | None:
    path = _lock_path(name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        # Another user made it first; a lock needs no more than reading, and what is written is only for the message.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"run {run!r} of user {_user_name(os.geteuid())}, process {os.getpid()}".encode(), 0)
    return (descriptor,)
