"""The first process of the virtual machine that is to lose its power: mount the disk, then be the crash writer.

Runs inside user-mode Linux, with the host's files as a read-only root and the disk of the cut as `/dev/ubda`.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from mastery.components import crash_writer


def mount(source: str, target: str, file_system: str, options: str = "") -> None:
    """mount(2); nothing but the standard library is to be had here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), file_system.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"{source} on {target}")


def main() -> None:
    """`uml_guest SPEC`; never returns, since the end of the first process is a panic of its kernel."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    mount("proc", "/proc", "proc")
    if not Path("/dev/ubda").exists():  # most builds mount /dev before they start us
        mount("devices", "/dev", "devtmpfs")
    mount("/dev/ubda", spec["folder"], "ext4", spec["options"])
    crash_writer.run(spec)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
