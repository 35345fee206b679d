"""Shared memory that a killed server leaves behind where the run has no namespace of its own for it."""

import ctypes
import os
import re
import struct
from pathlib import Path

_FILE = re.compile(r"/dev/shm/PostgreSQL\.\d+")  # noqa: S108 - the kernel's name for it
_SEGMENT = re.compile(r"/SYSV([0-9a-f]{8}) \(deleted\)")
_IPC_RMID = 0

# dsm_control_header: magic, items in use, items at most; dsm_control_item: handle, references, first page, pages,
# a pointer, a flag; 8 bytes aligned.
_CONTROL_MAGIC = 0x9A50_3D32
_CONTROL, _FIRST_ITEM = struct.Struct("III"), 16
_ITEM = struct.Struct("IINNP?7x")


def describe(pid: int) -> tuple[str, ...]:
    """The segments that a process has mapped, each as one line for the journal; empty without /proc."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    # Columns: addresses, permissions, offset, device, inode, name; of a System V segment the inode is its id.
    fields = [line.split(maxsplit=5) for line in maps]
    named = {(each[5], each[4]) for each in fields if len(each) == 6}
    namespace = _namespace()
    files = [f"{namespace} file {name}" for name, _ in named if _FILE.fullmatch(name)]
    segments = [f"{namespace} segment {number} {found[1]}" for name, number in named if (found := _SEGMENT.fullmatch(name))]
    return tuple(sorted(files + segments))


def remove(described: str) -> None:
    """Removes what `describe` described, if it is still there, ours, of this namespace and used by nobody."""
    match described.split(" "):
        case [namespace, "file", name] if namespace == _namespace() and _FILE.fullmatch(name):
            _remove_file(Path(name))
        case [namespace, "segment", number, key] if namespace == _namespace():
            _remove_segment(int(number), int(key, 16))
        case _:
            return


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/ipc").stat().st_ino)
    except OSError:
        return "only"


def _remove_file(path: Path) -> None:
    try:
        if path.lstat().st_uid == os.geteuid():
            listed = _listed_in(path.read_bytes())
            path.unlink()
            for handle in listed:
                _remove_file(path.with_name(f"PostgreSQL.{handle}"))
    except FileNotFoundError:
        return


def _listed_in(control: bytes) -> tuple[int, ...]:
    """The segments in use according to PostgreSQL's control segment (dsm.c, since 14); none of any other content."""
    if len(control) < _CONTROL.size:
        return ()
    magic, items, _ = _CONTROL.unpack_from(control)
    if magic != _CONTROL_MAGIC or _FIRST_ITEM + items * _ITEM.size > len(control):
        return ()
    found = (_ITEM.unpack_from(control, _FIRST_ITEM + number * _ITEM.size)[:2] for number in range(items))
    return tuple(handle for handle, references in found if references)


def _remove_segment(number: int, key: int) -> None:
    try:
        table = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    names = table[0].split()
    for line in table[1:]:
        row = dict(zip(names, map(int, line.split()), strict=False))
        if (row["shmid"], row["key"] & 0xFFFF_FFFF, row["nattch"], row["uid"]) == (number, key, 0, os.geteuid()):
            ctypes.CDLL(None).shmctl(number, _IPC_RMID, None)
