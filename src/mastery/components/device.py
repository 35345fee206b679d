"""What a folder sits on: file system, mount options, device, write cache, encryption; read from the kernel, never guessed.

Everything is read from `/proc/self/mountinfo` and `/sys`, as any user can. Where those do not exist (macOS) or say
nothing (an overlay whose upper folder lies outside our view) the fact is None, which means "not known" and is shown so.
"""

import fcntl
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mastery.errors import MachineCannot

MOUNTINFO = Path("/proc/self/mountinfo")
SYSFS = Path("/sys")

MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre", "afs", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
)
ENCRYPTING_FILE_SYSTEMS = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})

_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS
_ENCRYPT_FLAG = 0x800  # FS_ENCRYPT_FL: fscrypt encrypts what is in this folder


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    number: tuple[int, int]
    point: Path
    file_system: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What sysfs says about a block device; `below` are the devices that a mapping or RAID stands on."""

    name: str
    disk: str
    transport: str
    model: str
    rotational: bool | None
    write_cache: str | None
    encrypting: bool
    backing_file: Path | None
    below: tuple["BlockFacts", ...]

    def all(self) -> Iterator["BlockFacts"]:
        yield self
        for each in self.below:
            yield from each.all()


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What one folder sits on; None stands for "not known", never for "no"."""

    path: Path
    mount_point: Path
    file_system: str
    mount_options: tuple[str, ...]
    source: str
    device: str | None
    disk: str | None
    transport: str | None
    model: str | None
    rotational: bool | None
    write_cache: str | None
    layers: tuple[str, ...]
    encrypted_by: str | None
    in_memory: bool
    over_network: bool
    read_only: bool
    free_bytes: int

    @property
    def volatile_cache(self) -> bool | None:
        """Whether the drive may hold acknowledged writes in memory of its own until it is told to flush."""
        return None if self.write_cache is None else self.write_cache == "write back"

    def sentence(self) -> str:
        """One line for a terminal: `ext4 on vda (virtio, write back cache), 80.1 GiB free`."""
        known = [each for each in (self.transport, self._spinning(), self._cache(), self.encrypted_by and "encrypted") if each]
        where = (
            " over ".join((self.file_system, *self.layers))
            + f" on {self.disk or ('a server' if self.over_network else self.source)}"
        )
        details = f" ({', '.join(known)})" if known else ""
        return f"{where}{details}, {self.free_bytes / 2**30:.1f} GiB free"

    def _spinning(self) -> str | None:
        return "spinning" if self.rotational and self.transport != "virtio" else None

    def _cache(self) -> str | None:
        return f"{self.write_cache} cache" if self.write_cache else None


def describe(path: Path, *, mountinfo: Path = MOUNTINFO, sysfs: Path = SYSFS) -> DeviceFacts:
    """The facts about the folder at `path`, which must exist."""
    path = path.resolve()
    space = os.statvfs(path)
    if not mountinfo.exists():
        return _unknown(path, space.f_bavail * space.f_frsize)
    mount = mount_of(path, read_mounts(mountinfo.read_text(errors="surrogateescape")))
    facts = DeviceFacts(
        path=path,
        mount_point=mount.point,
        file_system=mount.file_system,
        mount_options=mount.options,
        source=mount.source,
        device=None,
        disk=None,
        transport=None,
        model=None,
        rotational=None,
        write_cache=None,
        layers=(),
        encrypted_by=_encryption(path, mount),
        in_memory=mount.file_system in MEMORY_FILE_SYSTEMS,
        over_network=mount.file_system in NETWORK_FILE_SYSTEMS,
        read_only="ro" in mount.options,
        free_bytes=space.f_bavail * space.f_frsize,
    )
    below = _folder_below(mount)
    if below is not None:
        return _laid_over(facts, describe(below, mountinfo=mountinfo, sysfs=sysfs))
    block = _block_of(mount, sysfs)
    return facts if block is None else _with_block(facts, block, mountinfo=mountinfo, sysfs=sysfs)


def read_mounts(text: str) -> tuple[Mount, ...]:
    """The lines of mountinfo; see proc(5): optional fields end with a lone dash."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        _, _, number, _, point, options, *_ = before.split(" ")
        file_system, source, super_options = after.split(" ", 2)
        major, _, minor = number.partition(":")
        # The options of the mount come first: a read-only bind of a writable file system is read-only here.
        merged = dict.fromkeys([*options.split(","), *super_options.split(",")])
        if "ro" in options.split(","):
            merged.pop("rw", None)
        mounts.append(Mount((int(major), int(minor)), Path(_plain(point)), file_system, _plain(source), tuple(merged)))
    return tuple(mounts)


def mount_of(path: Path, mounts: tuple[Mount, ...]) -> Mount:
    """The mount that `path` lies in: the longest point, and of several on one point the last, which hides the others."""
    best: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.point) and (best is None or len(mount.point.parts) >= len(best.point.parts)):
            best = mount
    if best is None:
        raise MachineCannot(f"No mount holds {path}.", remedy="Choose another folder with --on disk=FOLDER.")
    return best


def block_facts(entry: Path) -> BlockFacts:
    """What sysfs says about the block device whose (resolved) entry this is."""
    entry = entry.resolve()
    disk = entry.parent if (entry / "partition").exists() else entry
    backing = _line(disk / "loop" / "backing_file")
    slaves = sorted((disk / "slaves").glob("*")) if (disk / "slaves").is_dir() else []
    rotational = _line(disk / "queue" / "rotational")
    return BlockFacts(
        name=entry.name,
        disk=disk.name,
        transport=_transport(disk),
        model=_line(disk / "device" / "model") or "",
        rotational=None if rotational is None else rotational == "1",
        write_cache=_line(disk / "queue" / "write_cache"),
        encrypting=(_line(disk / "dm" / "uuid") or "").startswith("CRYPT-"),
        backing_file=None if backing is None else Path(backing),
        below=tuple(block_facts(each) for each in slaves),
    )


def _unknown(path: Path, free_bytes: int) -> DeviceFacts:
    return DeviceFacts(
        path=path,
        mount_point=path,
        file_system="unknown file system",
        mount_options=(),
        source="an unknown device",
        device=None,
        disk=None,
        transport=None,
        model=None,
        rotational=None,
        write_cache=None,
        layers=(),
        encrypted_by=None,
        in_memory=False,
        over_network=False,
        read_only=False,
        free_bytes=free_bytes,
    )


def _folder_below(mount: Mount) -> Path | None:
    """The folder that really takes the writes of a stacked file system, where it lies in our view."""
    if mount.file_system == "ecryptfs":
        return _visible(mount.source)
    if mount.file_system == "overlay":
        upper = next((each.removeprefix("upperdir=") for each in mount.options if each.startswith("upperdir=")), "")
        return _visible(upper)
    return None


def _visible(text: str) -> Path | None:
    folder = Path(text)
    return folder if text.startswith("/") and folder.is_dir() else None


def _laid_over(upper: DeviceFacts, lower: DeviceFacts) -> DeviceFacts:
    return replace(
        lower,
        path=upper.path,
        mount_point=upper.mount_point,
        file_system=upper.file_system,
        mount_options=upper.mount_options,
        layers=(lower.file_system, *lower.layers),
        encrypted_by=upper.encrypted_by or lower.encrypted_by,
        read_only=upper.read_only or lower.read_only,
        free_bytes=min(upper.free_bytes, lower.free_bytes),
    )


def _with_block(facts: DeviceFacts, block: BlockFacts, *, mountinfo: Path, sysfs: Path) -> DeviceFacts:
    bottom = tuple(each for each in block.all() if not each.below)
    caches = {each.write_cache for each in bottom}
    facts = replace(
        facts,
        device=block.name,
        disk="+".join(sorted({each.disk for each in bottom})),
        transport="+".join(sorted({each.transport for each in bottom})),
        model=", ".join(sorted({each.model for each in bottom} - {""})) or None,
        rotational=any(each.rotational for each in bottom) if all(each.rotational is not None for each in bottom) else None,
        # One drive with a volatile cache is enough to lose what was not flushed.
        write_cache="write back" if "write back" in caches else next(iter(caches)),
        layers=(block.name,) if block.below else (),
        encrypted_by=facts.encrypted_by or ("dm-crypt" if any(each.encrypting for each in block.all()) else None),
        in_memory=facts.in_memory or any(re.match(r"zram|ram\d", each.disk) for each in bottom),
    )
    if block.backing_file is not None and block.backing_file.exists():
        below = describe(block.backing_file.parent, mountinfo=mountinfo, sysfs=sysfs)
        facts = replace(
            facts,
            layers=(*facts.layers, block.disk, below.file_system, *below.layers),
            in_memory=facts.in_memory or below.in_memory,
            over_network=facts.over_network or below.over_network,
            disk=below.disk,
            transport=below.transport,
            rotational=below.rotational,
            write_cache=below.write_cache,
        )
    return facts


def _block_of(mount: Mount, sysfs: Path) -> BlockFacts | None:
    number = mount.number
    if number[0] == 0:
        # Anonymous numbers are those of file systems over several devices (btrfs) or none; the source may name one.
        try:
            device = Path(mount.source).stat().st_rdev if mount.source.startswith("/dev/") else 0
        except OSError:
            device = 0
        if not device:
            return None
        number = (os.major(device), os.minor(device))
    entry = sysfs / "dev" / "block" / f"{number[0]}:{number[1]}"
    return block_facts(entry) if entry.exists() else None


def _encryption(path: Path, mount: Mount) -> str | None:
    if mount.file_system in ENCRYPTING_FILE_SYSTEMS:
        return mount.file_system
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        (flags,) = struct.unpack("q", fcntl.ioctl(folder, _GET_FLAGS, struct.pack("q", 0)))
    except OSError:  # the file system keeps no such flags, so it does not encrypt by folder
        return None
    finally:
        os.close(folder)
    return "fscrypt" if flags & _ENCRYPT_FLAG else None


def _transport(disk: Path) -> str:
    if (disk / "dm").is_dir():
        return "device-mapper"
    if (disk / "md").is_dir():
        return "md raid"
    for word in ("virtio", "nvme", "usb", "mmc", "ata", "loop", "zram", "xvd"):
        if re.search(rf"/{word}[0-9a-z-]*/", f"{disk}/"):
            return {"ata": "sata", "xvd": "xen"}.get(word, word)
    return "unknown transport"


def _line(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None


def _plain(text: str) -> str:
    r"""Undoes the kernel's \040 for a space and its like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
