"""A file system inside a file: a loop device and a mount that are in no table and vanish with the last open descriptor.

The mount is never attached to the tree of folders (`fsmount` without `move_mount`) and is reached through
`/proc/self/fd/N`; the device clears itself when nothing uses it; the image has no name. So whatever dies, and
however, the kernel takes all three back, and there is nothing for anyone to clean up.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from enum import StrEnum
from pathlib import Path

from mastery.errors import MachineCannot

# The image is sparse: it takes what the writer flushes. Large enough that a writer which never flushes meets the cut first.
IMAGE_BYTES = 2 << 30

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same numbers on every architecture
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6  # FSCONFIG_*
_CLOSE_ON_EXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_LOOP_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_LOOP_AUTOCLEAR = 4
# struct loop_config: the file, the block size, struct loop_info64 with its flags at byte 52, then reserved words.
_LOOP_CONFIG_SIZE, _LOOP_FLAGS_AT = 304, 60
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN with the same number
_NO_LOG_FLUSH = 2


def find_program(name: str) -> str | None:
    """Where a program lies; the makers and checkers of file systems are in folders that an ordinary user's PATH omits."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


class FileSystem(StrEnum):
    """The file systems that can be shut down at once."""

    EXT4 = "ext4"
    XFS = "xfs"

    def make(self, image: str, *, pass_fds: tuple[int, ...] = ()) -> None:
        """Lays an empty file system into the image."""
        # Without lazy initialisation the kernel would go on writing to a new ext4 in the background, under the experiment;
        # with few inodes and a small journal there is little to initialise.
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        how = {FileSystem.EXT4: ["-F", "-m", "0", "-i", "65536", "-J", "size=16", "-E", lazy], FileSystem.XFS: ["-f"]}[self]
        maker = find_program(f"mkfs.{self}")
        if maker is None:
            raise MachineCannot(f"mkfs.{self} is not installed.", remedy=f"Install the package {PACKAGES[self]}.")
        made = subprocess.run([maker, "-q", *how, image], capture_output=True, text=True, pass_fds=pass_fds, check=False)
        if made.returncode != 0:
            raise MachineCannot(f"mkfs.{self} failed: {made.stderr.strip()}.", remedy=f"Try `mkfs.{self}` on a file of your own.")


PACKAGES = {FileSystem.EXT4: "e2fsprogs", FileSystem.XFS: "xfsprogs"}


class LoopDisk:
    """An image in `folder` behind a loop device, with an empty file system; needs the rights of root."""

    def __init__(self, folder: Path, file_system: FileSystem) -> None:
        self.file_system = file_system
        descriptor, name = tempfile.mkstemp(prefix="image-", dir=folder)
        Path(name).unlink()
        try:
            os.ftruncate(descriptor, IMAGE_BYTES)
            file_system.make(f"/proc/self/fd/{descriptor}", pass_fds=(descriptor,))
            self._device, self.name = _attach(descriptor)
        finally:
            os.close(descriptor)

    @property
    def journal(self) -> Path:
        """The file whose first word changes whenever the file system writes its journal."""
        if self.file_system is FileSystem.EXT4:
            return Path(f"/proc/fs/jbd2/{self.name}-8/info")
        return Path(f"/sys/fs/xfs/{self.name}/log/log_head_lsn")

    def mount(self, options: tuple[str, ...]) -> int:
        """Mounts it in no folder; the descriptor is the mount, and closing the last one unmounts."""
        context = _system_call(_FSOPEN, self.file_system.encode(), _CLOSE_ON_EXEC)
        try:
            _configure(context, "source", f"/dev/{self.name}")
            for option in options:
                key, equals, value = option.partition("=")
                _configure(context, key, value if equals else None)
            _system_call(_FSCONFIG, context, _CREATE, None, None, 0)
            return _system_call(_FSMOUNT, context, _CLOSE_ON_EXEC, 0)
        except OSError as problem:
            chosen = ",".join(options) or "defaults"
            raise MachineCannot(
                f"Mounting {self.file_system} with {chosen} failed: {problem.strerror} {_complaints(context)}".strip(),
                remedy=f"Check the options against `man 5 {self.file_system}`, and that the kernel has {self.file_system}.",
            ) from problem
        finally:
            os.close(context)

    def wait_until_unmounted(self, *, patience_s: float = 20.0) -> None:
        """Returns when the kernel has let go of the file system; a mount before that would be given the dead one again."""
        deadline_s = time.monotonic() + patience_s
        while Path(f"/sys/fs/{self.file_system}/{self.name}").exists():
            if time.monotonic() > deadline_s:
                raise MachineCannot(f"{self.file_system} on {self.name} stays mounted.", remedy="Look what still uses it.")
            time.sleep(0.002)

    def close(self) -> None:
        os.close(self._device)


def shut_down(mount: int) -> None:
    """Ends the mounted file system at once, without writing its log: what is only in memory is lost."""
    folder = os.open(f"/proc/self/fd/{mount}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(folder)


def _attach(image: int) -> tuple[int, str]:
    """Puts a free loop device in front of the image; one that another process takes first is passed over."""
    settings = bytearray(_LOOP_CONFIG_SIZE)
    struct.pack_into("II", settings, 0, image, 512)
    struct.pack_into("I", settings, _LOOP_FLAGS_AT, _LOOP_AUTOCLEAR)
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        for _ in range(64):
            number = fcntl.ioctl(control, _LOOP_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(settings))
            except OSError as problem:
                os.close(device)
                if problem.errno != errno.EBUSY:
                    raise
            else:
                return device, f"loop{number}"
    finally:
        os.close(control)
    raise MachineCannot("Every loop device was taken by somebody else 64 times in a row.", remedy="Try again.")


def _configure(context: int, key: str, value: str | None) -> None:
    command = _SET_FLAG if value is None else _SET_STRING
    _system_call(_FSCONFIG, context, command, key.encode(), None if value is None else value.encode(), 0)


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    given = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    answer = int(libc.syscall(ctypes.c_long(number), *given))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _complaints(context: int) -> str:
    """What the kernel wrote about a mount that it refused: one message per read."""
    told = []
    try:
        while message := os.read(context, 4096):
            told.append(message.decode(errors="replace").strip())
    except OSError:  # no more messages
        pass
    return "; ".join(told)
