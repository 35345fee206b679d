"""The program that shows a modelled disk as a mounted folder (FUSE): `fuse_server MOUNT-POINT PLATTERS PARENT FUSERMOUNT`."""

import errno
import os
import select
import stat
import sys
from pathlib import Path
from typing import Any

from mastery.components.crash_writer import die_with_parent
from mastery.components.modelled_disk import ModelledDisk


def operations(disk: ModelledDisk) -> Any:
    """The calls of the kernel, each turned into one of the disk's; paths are a slash and a name."""
    # Imported here, since the library comes with an extra and loads libfuse3 at once.
    from mfusepy import FuseOSError, Operations

    class Calls(Operations):  # type: ignore[misc]
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
            if path == "/":
                return owner | {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            number = fh or number_of(path)
            return owner | {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": disk.length(number), "st_ino": number}

        def readdir(self, path: str, fh: int) -> list[str]:
            del path, fh
            return [".", "..", *disk.names]

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            del mode, fi
            return disk.create(path[1:])

        def open(self, path: str, flags: int) -> int:
            del flags
            return number_of(path)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            del path
            return disk.read(fh, offset, size)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            del path
            disk.write(fh, offset, data)
            return len(data)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            disk.resize(fh or number_of(path), length)
            return 0

        def rename(self, old: str, new: str) -> int:
            number_of(old)
            disk.rename(old[1:], new[1:])
            return 0

        def unlink(self, path: str) -> int:
            number_of(path)
            disk.unlink(path[1:])
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            del path, datasync
            disk.flush(fh)
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            del path, datasync, fh
            disk.flush_names()
            return 0

        def chmod(self, path: str, mode: int) -> int:
            del path, mode
            return 0

        def utimens(self, path: str, times: Any = None) -> int:
            del path, times
            return 0

    def number_of(path: str) -> int:
        try:
            return disk.names[path[1:]]
        except KeyError:
            raise FuseOSError(errno.ENOENT) from None

    return Calls()


def main() -> None:
    """Serves until it is killed; the mount goes with it."""
    mount_point, platters, parent, unmounter = sys.argv[1:]
    die_with_parent(int(parent))
    server = os.getpid()
    if os.fork() == 0:
        unmount_after(server, [unmounter, "-u", "-z", mount_point])
    from mfusepy import FUSE

    # Without hard_remove the library would keep open files that lose their name under one of its own making.
    FUSE(operations(ModelledDisk(Path(platters))), mount_point, foreground=True, nothreads=True, hard_remove=True, fsname="mastery")


def unmount_after(server: int, command: list[str]) -> None:
    """Becomes the command when the server has died. FUSE's own `auto_unmount` gives up where a file is still open."""
    os.setsid()
    select.select([os.pidfd_open(server)], [], [])
    os.execv(command[0], command)  # noqa: S606 - to become this program is what we are for


if __name__ == "__main__":
    main()
