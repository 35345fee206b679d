"""The folders of one run, of mode 0700, with an owner whose death anybody can see."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mastery.components import belongings, processes
from mastery.components.belongings import Kind
from mastery.components.component import Site
from mastery.errors import DomainError, UsageError

OWNER = ".owner"
_GATE = ".gate"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

# 107 bytes on Linux and 103 on macOS are all that a socket's address holds; 32 are kept for the socket's own name.
_LONGEST_SOCKETS_FOLDER = 103 - 32


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What the main process holds while a run lives: its site, its own folder, and the lock that says it lives."""

    site: Site
    folder: Path
    lock: int
    """A descriptor that only the main process and the watcher may hold."""

    def clear(self) -> tuple[str, ...]:
        """Ends and removes everything that belongs to the run; what could not be done is returned."""
        return belongings.clear(self.folder, self.site.run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None, /) -> None:
        self.clear()
        os.close(self.lock)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the user chose for a run's components; see `Site`."""

    choices: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, str] = field(default_factory=dict)


def make_run_folder(runs: Path, run: str, *, on: Path | None = None, chosen: Chosen | None = None) -> RunFolder:
    """Makes the folders of `run` below `runs`; with `on`, its data lie in a folder of their own below that one.

    Raises UsageError for a name that cannot be a folder's, DomainError when a folder cannot be had safely.
    """
    if not _NAME.fullmatch(run):
        raise UsageError(
            f"{run!r} cannot name a run.", remedy="Use up to 40 letters, digits, dashes and underscores, a letter or digit first."
        )
    sockets = _sockets_base() / run
    folder = runs / run
    try:
        _make_private(runs)
        with gate(runs):
            folder.mkdir(mode=0o700)
            lock = _own(folder)
    except FileExistsError as taken:
        raise DomainError(f"The run {run!r} already has a folder: {folder}.", remedy="Run `mastery doctor --clean`.") from taken
    except OSError as refused:
        raise _cannot_write(runs, refused) from refused
    made = False
    try:
        data = folder if on is None else on / f"mastery-{run}"
        for place in (sockets, data):
            if place != folder:
                belongings.record(folder, Kind.FOLDER, str(place.absolute()))
                place.mkdir(mode=0o700)
        made = True
    except OSError as refused:
        raise _cannot_write(on or sockets.parent, refused) from refused
    finally:
        if not made:
            belongings.clear(folder, run)
            os.close(lock)
    chosen = chosen or Chosen()
    return RunFolder(Site(run, data.absolute(), sockets, chosen.choices, chosen.targets, chosen.allowed), folder, lock)


def _make_private(folder: Path) -> None:
    """Like `mkdir(parents=True)`, which would make the parents as open as the user's umask allows."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _cannot_write(place: Path, refused: OSError) -> DomainError:
    return DomainError(
        f"A folder for the run cannot be made in {place}: {refused.strerror}.",
        remedy="Name a folder that you may write to with `--on disk=FOLDER`, or set MASTERY_HOME.",
    )


def _own(folder: Path) -> int:
    lock = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(lock, processes.myself().encode().encode())
    except OSError:
        # A full disk: a folder without an owner would be left for the janitor.
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Some network file systems lock nothing: there the written identity alone speaks for us.
        return lock
    return lock


def is_owned(folder: Path) -> bool:
    """Whether the process that made the folder, or its watcher, still lives.

    A lock says so best: the kernel drops it at death, and it is seen from every container. Where nothing can be locked,
    the identity decides, and one of another boot or namespace counts as living for want of proof.
    """
    try:
        descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        owner = processes.Identity.decode(os.read(descriptor, 4096).decode())
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except ValueError:
        return False
    except OSError:
        return processes.is_alive(owner) or (owner.boot, owner.pid_namespace) != (processes.boot(), processes.pid_namespace())
    finally:
        os.close(descriptor)
    return processes.is_alive(owner)


@contextmanager
def gate(runs: Path) -> Iterator[None]:
    """Held for moments: nobody judges a folder dead while another is between making and owning it."""
    descriptor = os.open(runs / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Where nothing can be locked (see `is_owned`), making and owning are two steps close together.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sockets_base() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(runtime) / "mastery"] if runtime.startswith("/") else []
    places.append(Path("/tmp") / f"mastery-{os.geteuid()}")  # noqa: S108 - checked below; $TMPDIR is often too long for a socket
    fitting = [place for place in places if len(os.fsencode(place)) + 41 <= _LONGEST_SOCKETS_FOLDER]
    for place in fitting:
        try:
            place.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            continue
        except OSError as refused:
            raise DomainError(
                f"The sockets folder {place} cannot be made: {refused.strerror}.", remedy=_RUNTIME_REMEDY
            ) from refused
        _refuse_foreign(place)
        return place
    raise DomainError(f"None of {', '.join(map(str, places))} can hold sockets.", remedy=_RUNTIME_REMEDY)


_RUNTIME_REMEDY = "Set XDG_RUNTIME_DIR to a short path of a folder that is yours and has mode 0700."


def _refuse_foreign(place: Path) -> None:
    status = place.lstat()
    # In /tmp anybody may have made this name first, as a link or as a folder that stays theirs.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise DomainError(
            f"The sockets folder {place} is a link, somebody else's, or open to others (mode {stat.S_IMODE(status.st_mode):04o}).",
            remedy=f"Remove {place}, or give it to yourself with mode 0700. {_RUNTIME_REMEDY}",
        )
