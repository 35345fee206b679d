"""Fetches what locks name, with the pinned pip beside this file or the user's uv, and says in time what and why not."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wheels import PIP, Wheel

PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Refused(Exception):
    """The environment cannot be made: what happened, and what mends it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def source_of_wheels() -> str:
    offline = os.environ.get("MASTERY_OFFLINE")
    return f"from {offline}" if offline else "checked against the hashes of the lock"


def announce(wheels: Sequence[Wheel], *, where: Path) -> None:
    total = sum(wheel.size_bytes or 0 for wheel in wheels)
    say(f"Getting {len(wheels)} packages ({total / 1e6:.1f} MB) into {where}, {source_of_wheels()}:")
    for wheel in wheels:
        size = "size unknown" if wheel.size_bytes is None else f"{wheel.size_bytes / 1e6:.2f} MB"
        say(f"  {wheel.name + ' ' + wheel.version:40} {size:>12}")


def pip_command(python: Path) -> list[str]:
    if hashlib.sha256(PIP.read_bytes()).hexdigest() != PIP_SHA256:
        raise Refused(f"{PIP} is not the file that it should be (its SHA-256 differs).", remedy="git checkout -- launcher")
    command = [str(python), "-I", str(PIP / "pip")]
    # An answer of "no network" within seconds; whoever configured pip otherwise is obeyed.
    return command if "PIP_RETRIES" in os.environ else [*command, "--retries", "2"]


def is_pip_configured() -> bool:
    """A pip.conf or PIP_... variable names a company's index or certificates; uv would pass them by."""
    if any(name in os.environ for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "PIP_PROXY")):
        return True
    if "PIP_CONFIG_FILE" in os.environ:
        return os.environ["PIP_CONFIG_FILE"] != os.devnull
    home = Path.home()
    of_user = (".pip", ".config/pip", "Library/Application Support/pip")
    return Path("/etc/pip.conf").exists() or any((home / folder / "pip.conf").exists() for folder in of_user)


def options_for(locks: Sequence[Path]) -> list[str]:
    """What pip and uv are both told: nothing but wheels, nothing without its hash, and where from."""
    options = ["--require-hashes", "--only-binary", ":all:", "--quiet"]
    offline = os.environ.get("MASTERY_OFFLINE")
    if offline:
        options += ["--no-index", "--find-links", str(Path(offline).resolve())]
    return options + [word for lock in locks for word in ("-r", str(lock))]


def run_logged(command: Sequence[str | Path]) -> str:
    """Empty on success, else what the program said."""
    result = subprocess.run(
        command,
        check=False,
        text=True,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # in the order in which it was said
    )
    return "" if result.returncode == 0 else result.stdout.strip() or f"{command[0]} ended with status {result.returncode}"


def reason_of(said: str, clone: Path) -> Refused:
    """What pip's words mean for the one who reads them."""
    offline = os.environ.get("MASTERY_OFFLINE")
    if "DO NOT MATCH THE HASHES" in said:
        message = "A package that was sent is not the one that the lock names; nothing of it is used."
        remedy = "try another network, or ask who runs your package index"
    elif "No space left" in said:
        message = "The disk is full."
        remedy = "free some space and start again; MASTERY_HOME=FOLDER puts it into another folder"
    elif offline:
        message = f"The folder {offline} does not hold all the wheels that are needed."
        download = f"python3 {PIP.relative_to(clone) / 'pip'} download --only-binary :all: --require-hashes"
        remedy = f"where there is a network: {download} -r requirements.lock -d DIR"
    else:
        message = (
            f"The packages could not be fetched: no network, no access to the package index, or no wheel for {sys.executable}."
        )
        remedy = (
            "check the connection, the proxy and pip's configuration; for another Python: MASTERY_PYTHON=python3.12 ./mastery; "
            "without any network: ./mastery --offline DIR (README, 'Without a network')"
        )
    last_words = "\n".join("  | " + line for line in said.splitlines()[-6:])
    return Refused(f"{message}\n{last_words}", remedy=remedy)


def fill(python: Path, locks: Sequence[Path], clone: Path) -> None:
    """Installs the locks into an environment that nobody uses yet."""
    uv = shutil.which("uv")
    if uv and not is_pip_configured():
        said = run_logged([uv, "pip", "install", "--python", python, "--compile-bytecode", *options_for(locks)])
        if not said:
            return
        say("uv could not install them; trying again with pip.")
    said = run_logged([*pip_command(python), "install", *options_for(locks)])
    if said:
        raise reason_of(said, clone)
