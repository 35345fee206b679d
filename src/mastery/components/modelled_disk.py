"""A disk that keeps exactly what was flushed: the model behind the power cut for which neither root nor a kernel is at hand.

Files live in memory; a flush writes what changed into a folder of the host, which stands for the platters. When the
process that holds the memory dies, everything unflushed is gone: always, and as a whole. A real disk may keep some of it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class _Content:
    """A file in memory, and the ranges in which it differs from the platters."""

    data: bytearray = field(default_factory=bytearray)
    changed: list[tuple[int, int]] = field(default_factory=list)
    shortened: bool = False


class ModelledDisk:
    """One folder of files, without subfolders; a file keeps its number under every name."""

    def __init__(self, platters: Path) -> None:
        self._platters = platters
        self._contents: dict[int, _Content] = {}
        self._names: dict[str, int] = {}
        self._names_changed = False
        self._next = 1

    @property
    def names(self) -> Mapping[str, int]:
        return self._names

    def create(self, name: str) -> int:
        number = self._next
        self._next += 1
        self._contents[number] = _Content()
        self._name(name, number)
        return number

    def length(self, number: int) -> int:
        return len(self._contents[number].data)

    def read(self, number: int, offset: int, size: int) -> bytes:
        return bytes(self._contents[number].data[offset : offset + size])

    def write(self, number: int, offset: int, data: bytes) -> None:
        content = self._contents[number]
        if offset > len(content.data):
            self.resize(number, offset)
        content.data[offset : offset + len(data)] = data
        content.changed.append((offset, offset + len(data)))

    def resize(self, number: int, length: int) -> None:
        content = self._contents[number]
        before = len(content.data)
        if length < before:
            del content.data[length:]
            content.shortened = True
        else:
            content.data.extend(bytes(length - before))
            content.changed.append((before, length))

    def rename(self, old: str, new: str) -> None:
        self._name(new, self._names.pop(old))

    def unlink(self, name: str) -> None:
        del self._names[name]
        self._names_changed = True

    def flush(self, number: int) -> None:
        """Writes the file to the platters, and the names with it, as a file system with one journal does."""
        content = self._contents[number]
        descriptor = os.open(self._platters / str(number), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            if content.shortened:
                # What was cut off must not come back as the old bytes below a later growth.
                os.ftruncate(descriptor, 0)
                content.changed = [(0, len(content.data))]
            for start, end in content.changed:
                os.pwrite(descriptor, content.data[start:end], start)
        finally:
            os.close(descriptor)
        content.changed, content.shortened = [], False
        self.flush_names()

    def flush_names(self) -> None:
        if not self._names_changed:
            return
        (self._platters / "names.new").write_text(json.dumps(self._names))
        (self._platters / "names.new").rename(self._platters / "names")
        self._names_changed = False

    def _name(self, name: str, number: int) -> None:
        self._names[name] = number
        self._names_changed = True


def recover(platters: Path, found: Path) -> None:
    """Lays out what the platters hold as plain files; a name whose file was never flushed is an empty file."""
    if not (platters / "names").exists():
        return
    for name, number in json.loads((platters / "names").read_text()).items():
        data = platters / str(number)
        (found / name).write_bytes(data.read_bytes() if data.exists() else b"")
