"""A run for the tests of the enclosure: a mount, a program, a daemon; then it says so and waits for its end.

python enclosed_run.py RUNS RUN KIND ENDING      ENDING: wait, a number to return, "raise", or "signal"
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mastery.components import linux
from mastery.components.belongings import RUN_VARIABLE
from mastery.components.component import Site
from mastery.components.enclosure import Enclosure, enclose
from mastery.components.machine_lock import measure_alone
from mastery.components.postgres import PostgreSQL
from mastery.components.run_folder import make_run_folder


def furnish(site: Site, kind: Enclosure) -> None:
    if kind is not Enclosure.TETHER:
        mounted = site.folder / "mounted"
        mounted.mkdir()
        linux.mount("tmpfs", mounted, "tmpfs")
        (mounted / "file").write_text("inside")
    marked = os.environ | {RUN_VARIABLE: site.run}
    sleeper = "import time; time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", sleeper], env=marked)
    # A daemon: its parent ends at once, and it leaves session and process group.
    if os.environ.get("WITH_POSTGRES"):
        PostgreSQL().start(site, {})
    daemon = f"import os, time\nif os.fork(): os._exit(0)\nos.setsid()\n{sleeper}"
    subprocess.run([sys.executable, "-c", daemon], env=marked, check=True)


def main(site: Site, kind: Enclosure, ending: str) -> int:
    furnish(site, kind)
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while ending == "wait":
            # In pieces: a signal just before a long wait would be noticed only after it.
            time.sleep(0.02)
    except KeyboardInterrupt:
        sys.stdout.write("interrupted\n")
        return 7
    if ending == "raise":
        raise RuntimeError("a bug of ours")
    if ending == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    return int(ending)


if __name__ == "__main__":
    runs, run, kind, ending = Path(sys.argv[1]), sys.argv[2], Enclosure(sys.argv[3]), sys.argv[4]
    with measure_alone(run, name=f"test-{run}") as held, make_run_folder(runs, run) as folder:
        status = enclose(lambda: main(folder.site, kind, ending), run=folder, held=held, kind=kind)
    sys.stdout.write(f"status {status}\n")
