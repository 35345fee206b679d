"""The first process of the virtual machine that is to lose its power: mount the disk, then be the crash writer.

Runs inside user-mode Linux, with the host's files as a read-only root and the disk of the cut as `/dev/ubda`.
"""

import json
import signal
import sys
from pathlib import Path

from mastery.components import crash_writer, linux


def main() -> None:
    """`uml_guest SPEC`; never returns, since the end of the first process is a panic of its kernel."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    linux.mount("proc", Path("/proc"), "proc")
    if not Path("/dev/ubda").exists():  # most builds mount /dev before they start us
        linux.mount("devices", Path("/dev"), "devtmpfs")
    linux.mount("/dev/ubda", Path(spec["folder"]), "ext4", options=spec["options"])
    crash_writer.run(spec)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
