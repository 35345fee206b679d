"""What a run has outside its own memory, written down before it is made, so that anybody can clear it after a kill.

A run's folder holds the journal `.belongings`: one line for each folder, process, program, cgroup and mount.
Clearing works from that journal, asks the kernel about mounts and loop devices, and never touches a path that does
not carry the run's name.
"""

import errno
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mastery.components import processes, shared_memory
from mastery.components.cgroup import remove_group
from mastery.components.linux import IS_LINUX, MNT_DETACH, detach_loop, unmount
from mastery.errors import DomainError

JOURNAL = ".belongings"
RUN_VARIABLE = "MASTERY_RUN"
"""Every program that a run starts has this in its environment, with the run's name."""

DOOMED = ".dead-"
"""How the name of a folder begins whose removal has started."""

_KILL_TIMEOUT_S = 10.0


class Kind(StrEnum):
    """What a line of the journal stands for."""

    FOLDER = "folder"
    PROCESS = "process"
    PROGRAM = "program"
    """The path of an executable: stray processes of it that work inside the run's folders are the run's."""
    CGROUP = "cgroup"
    SHARED_MEMORY = "shared-memory"
    """As `shared_memory.describe` puts it."""


@dataclass(frozen=True, slots=True)
class Belonging:
    kind: Kind
    value: str


def record(folder: Path, kind: Kind, value: str) -> None:
    """Adds a line to the journal in `folder` (a run's `site.folder`); call it before the thing is made."""
    assert "\n" not in value, "one line, one belonging"
    journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(journal, f"{kind} {value}\n".encode())
    finally:
        os.close(journal)


def read(folder: Path) -> tuple[Belonging, ...]:
    """The journal of a folder; a line torn by a kill is left out, because what it announces was not made yet."""
    try:
        text = (folder / JOURNAL).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    lines = (line.partition(" ") for line in text.split("\n")[:-1])
    return tuple(Belonging(Kind(kind), value) for kind, _, value in lines if kind in set(Kind) and value)


def clear(folder: Path, run: str) -> tuple[str, ...]:
    """Ends and removes everything that belongs to `run`, its own `folder` last; what could not be done is returned.

    Safe to repeat, and safe to be killed in the middle: the next call goes on.
    """
    folders = _folders_of(folder, run)
    belongings = [each for place in folders for each in read(place)]
    troubles = _end_processes(belongings, folders, run)
    for each in belongings:
        if each.kind is Kind.SHARED_MEMORY:
            shared_memory.remove(each.value)
    troubles += _unmount_below(folders)
    troubles += _free_loops_below(folders)
    troubles += _remove_cgroups(belongings, run)
    mounted = mounts_below(folders)
    for place in reversed(folders):
        if any(_is_below(point, place) for point in mounted):
            troubles.append(f"{place} still has something mounted and was left as it is")
        else:
            troubles += _remove_tree(place)
    return tuple(troubles)


def _folders_of(folder: Path, run: str) -> list[Path]:
    found = [folder]
    for place in found:
        named = [Path(each.value) for each in read(place) if each.kind is Kind.FOLDER]
        for path in (either for each in named if each.name for either in (each, _doomed(each))):
            if path not in found and _is_folder_of(path, run):
                found.append(path)
    return found


def _doomed(folder: Path) -> Path:
    return folder if folder.name.startswith(DOOMED) else folder.with_name(DOOMED + folder.name)


def _is_folder_of(path: Path, run: str) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    names = {prefix + name for prefix in ("", DOOMED) for name in (run, f"mastery-{run}")}
    return path.is_absolute() and path.name in names and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _end_processes(belongings: Iterable[Belonging], folders: list[Path], run: str) -> list[str]:
    recorded: list[processes.Identity] = []
    for each in belongings:
        if each.kind is Kind.PROCESS:
            try:
                recorded.append(processes.Identity.decode(each.value))
            except ValueError:
                continue
    executables = {each.value for each in belongings if each.kind is Kind.PROGRAM}
    # Twice: who was being forked while we looked is found the second time.
    for _ in range(2):
        family = [each for each in recorded if processes.is_alive(each)]
        family += [below for each in family for below in processes.descendants(each.pid)]
        family += _strays(executables, folders, run)
        for member in dict.fromkeys(family):
            processes.send(member, signal.SIGKILL)
        left = processes.wait_until_gone(dict.fromkeys(family), timeout_s=_KILL_TIMEOUT_S)
        if left or not family:
            break
    return [f"process {each.pid} did not end" for each in left]


def _strays(executables: set[str], folders: list[Path], run: str) -> list[processes.Identity]:
    """Processes of the run that nobody wrote down: by the mark in their environment, or by program and working folder.

    PostgreSQL overwrites the environment it was started with, hence the second way; the program must match as well,
    because a shell in which the user looks at the folder is none of ours.
    """
    mark = f"{RUN_VARIABLE}={run}".encode()
    found = []
    for pid in processes.everyone():
        if pid == os.getpid():
            continue
        try:
            marked = mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            ours = marked or (
                str(Path(f"/proc/{pid}/exe").readlink()) in executables
                and any(_is_below(Path(f"/proc/{pid}/cwd").readlink(), folder) for folder in folders)
            )
        except OSError:
            continue
        identity = processes.identify(pid) if ours else None
        if identity is not None:
            found.append(identity)
    return found


def _is_below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def mounts_below(folders: Iterable[Path]) -> list[Path]:
    """Mount points inside the folders, the innermost first."""
    if not IS_LINUX:
        return []
    resolved = [Path(os.path.realpath(folder)) for folder in folders]
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [Path(_unescaped(line.split(" ")[4])) for line in lines]
    return [point for point in reversed(points) if any(_is_below(point, folder) for folder in resolved)]


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _unmount_below(folders: list[Path]) -> list[str]:
    troubles = []
    for point in mounts_below(folders):
        try:
            unmount(point)
        except OSError as refused:
            if refused.errno == errno.EPERM:
                troubles += _unmount_as_user(point)
                continue
            try:
                # Busy: taken out of the tree now, and gone when the last user of it is.
                unmount(point, MNT_DETACH)
            except OSError as still_refused:
                troubles.append(str(still_refused))
    return troubles


def _unmount_as_user(point: Path) -> list[str]:
    tool = shutil.which("fusermount3") or shutil.which("fusermount")
    if tool is None:
        return [f"{point} is mounted, and there is no fusermount3 to unmount it as an ordinary user"]
    answer = subprocess.run([tool, "-u", "-z", "--", str(point)], capture_output=True, text=True, check=False, timeout=10)
    return [] if answer.returncode == 0 else [answer.stderr.strip()]


def _free_loops_below(folders: list[Path]) -> list[str]:
    troubles = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file") if IS_LINUX else ():
        try:
            file = Path(backing.read_text().rstrip("\n").removesuffix(" (deleted)"))
            if any(_is_below(file, folder) for folder in folders):
                detach_loop(Path("/dev") / backing.parts[3])
        except FileNotFoundError:
            continue
        except OSError as refused:
            if refused.errno != errno.ENXIO:
                troubles.append(f"{backing.parts[3]} could not be freed: {refused.strerror}")
    return troubles


def _remove_cgroups(belongings: Iterable[Belonging], run: str) -> list[str]:
    troubles = []
    for each in belongings:
        path = Path(each.value)
        if each.kind is not Kind.CGROUP or not path.name.startswith(f"mastery-{run}") or Path("/sys/fs/cgroup") not in path.parents:
            continue
        inner = sorted((child for child in path.rglob("*") if child.is_dir()), key=lambda child: -len(child.parts))
        for group in (*inner, path):
            try:
                remove_group(group)
            except DomainError as refused:
                troubles.append(refused.message)
    return troubles


def _remove_tree(folder: Path) -> list[str]:
    # The journal goes last, and with the rename the whole folder at once: killed in between, the next one goes on.
    doomed = _doomed(folder)
    troubles: list[str] = []
    try:
        if doomed != folder:
            folder.rename(doomed)
    except FileNotFoundError:
        return []
    except OSError as refused:
        return [f"{folder} could not be removed: {refused.strerror}"]

    def note(_function: object, path: str, raised: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(raised[1], FileNotFoundError):
            troubles.append(f"{path} could not be removed: {raised[1]}")

    shutil.rmtree(doomed, onerror=note)
    return troubles
