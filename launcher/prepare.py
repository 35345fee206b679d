"""Brings the environment of a clone up to date: a venv without pip, filled from hashed locks by the pinned pip beside this file.

    prepare.py CLONE ENVIRONMENT LOCK...

Needs a Python with its standard library, nothing else: neither pip nor ensurepip. A new environment is built aside and
renamed into place when it is whole; its folder `launcher` holds copies of the locks it was made from, which is how the
next start knows that it is current. Everything said goes to standard error: standard output belongs to the program.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from wheels import PIP, Wheel, wheels_of

PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
MACHINE_CANNOT = 4


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Refused(Exception):
    """The environment cannot be made: what happened, and what mends it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Two launchers at once would build the same folder: the second waits, and says so."""
    with lock.open("w") as file:
        # pip inherits the lock: when we are killed and it goes on alone, the next start waits for it to end.
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is setting up the environment; waiting until it is done.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- what an environment is -----------------------------------------------------------------------------------------


def held_locks(environment: Path) -> set[str]:
    return {copy.name for copy in (environment / "launcher").glob("*.lock")}


def is_usable(environment: Path, clone: Path) -> bool:
    """Whether it runs, is whole, and holds its locks as the clone has them now."""
    stamp = environment / "launcher"
    if (stamp / "unfinished").exists() or not (stamp / "requirements.lock").exists():
        return False
    for name in held_locks(environment):
        if not (clone / name).exists() or (clone / name).read_bytes() != (stamp / name).read_bytes():
            return False
    python = environment / "bin" / "python"
    # After an upgrade of the system's Python the link dangles, or runs a version that looks into another folder.
    return python.exists() and subprocess.call([python, "-P", "-c", "import mastery"], stderr=subprocess.DEVNULL) == 0


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python3*/site-packages")
    return folder


def install_ourselves(environment: Path, clone: Path) -> None:
    """Our sources stay in the clone: a line in a .pth file, and the metadata that tells the version."""
    packages = site_packages(environment)
    (packages / "mastery.pth").write_text(f"{clone / 'src'}\n", "utf-8")
    with (clone / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    for old in packages.glob("backend_mastery-*.dist-info"):
        shutil.rmtree(old)
    metadata = packages / f"backend_mastery-{project['version']}.dist-info"
    metadata.mkdir()
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\nSummary: {project['description']}\n"
    (metadata / "METADATA").write_text(text, "utf-8")
    (metadata / "INSTALLER").write_text("mastery-launcher\n", "utf-8")


def stamp_with(environment: Path, clone: Path, names: Sequence[str]) -> None:
    stamp = environment / "launcher"
    stamp.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(clone / name, stamp / name)


# --- fetching -------------------------------------------------------------------------------------------------------


def announce(wheels: Sequence[Wheel], *, where: Path, source: str) -> None:
    total = sum(wheel.size_bytes or 0 for wheel in wheels)
    say(f"Getting {len(wheels)} packages ({total / 1e6:.1f} MB) into {where}, {source}:")
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


# --- building and adding --------------------------------------------------------------------------------------------


def name_final_place(building: Path, environment: Path) -> None:
    """Scripts and settings that were written aside name the place that they are moved to."""
    for file in [*(building / "bin").iterdir(), building / "pyvenv.cfg"]:
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        if str(building).encode() in content and b"\0" not in content:
            file.write_bytes(content.replace(str(building).encode(), str(environment).encode()))


def build(environment: Path, clone: Path, names: Sequence[str]) -> None:
    """A whole new environment, made aside; until the rename the old one, if any, stays what it was."""
    locks = [clone / name for name in names]
    announce(wheels_of(locks), where=environment, source=source_of_wheels())
    building = environment.with_name(environment.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        # The file behind the links: `python3` may mean another version after the next upgrade of the system.
        base_python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        said = run_logged([base_python, "-I", "-m", "venv", "--without-pip", "--prompt", "mastery", building])
        if said:
            raise Refused(f"{base_python} cannot make a virtual environment: {said}", remedy="name another by MASTERY_PYTHON")
        fill(building / "bin" / "python", locks, clone)
        install_ourselves(building, clone)
        stamp_with(building, clone, ["pyproject.toml", *names])
        name_final_place(building, environment)
        old = environment.with_name(environment.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if environment.exists():
            environment.rename(old)
        building.rename(environment)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def source_of_wheels() -> str:
    offline = os.environ.get("MASTERY_OFFLINE")
    return f"from {offline}" if offline else "checked against the hashes of the lock"


def add(environment: Path, clone: Path, names: Sequence[str]) -> None:
    """Adds locks to an environment in place, for a program may be running from it.

    All is fetched before anything is touched: without a network the environment stays as good as it was.
    """
    locks = [clone / name for name in names]
    present = {folder.name.lower() for folder in site_packages(environment).glob("*.dist-info")}
    missing = [each for each in wheels_of(locks) if f"{each.name.replace('-', '_')}-{each.version}.dist-info" not in present]
    announce(missing, where=environment, source=source_of_wheels())
    fetched = environment / "launcher" / "fetched"
    unfinished = environment / "launcher" / "unfinished"
    pip = pip_command(environment / "bin" / "python")
    shutil.rmtree(fetched, ignore_errors=True)
    try:
        said = run_logged([*pip, "download", *options_for(locks), "-d", fetched])
        if said:
            raise reason_of(said, clone)
        unfinished.touch()
        said = run_logged([*pip, "install", *options_for(locks), "--no-index", "--find-links", fetched])
        if said:
            raise reason_of(said, clone)
        stamp_with(environment, clone, names)
        unfinished.unlink()
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def bring_up_to_date(clone: Path, environment: Path, wanted: Sequence[str]) -> None:
    """Builds, adds or only refreshes: the least that makes the environment hold what is wanted."""
    began = time.monotonic()
    held = held_locks(environment)
    if environment.exists() and not (environment / "launcher").is_dir():
        raise Refused(f"{environment} exists and was not made by this launcher.", remedy="move it, or choose: MASTERY_HOME=FOLDER")
    if not is_usable(environment, clone):
        still_there = {name for name in held if (clone / name).exists()}
        build(environment, clone, sorted({"requirements.lock", *wanted} | still_there))
        say(f"Set up in {time.monotonic() - began:.1f} s.")
    else:
        missing = sorted(set(wanted) - held)
        if missing:
            add(environment, clone, missing)
            say(f"Added in {time.monotonic() - began:.1f} s.")
        install_ourselves(environment, clone)
        stamp_with(environment, clone, ["pyproject.toml"])


def main() -> int:
    clone, environment, wanted = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    try:
        environment.parent.mkdir(parents=True, exist_ok=True)
        with only_one(environment.with_name(environment.name + ".lock")):
            bring_up_to_date(clone, environment, wanted)
    except Refused as refused:
        say(f"mastery: {refused}\nRemedy: {refused.remedy}")
        return MACHINE_CANNOT
    except OSError as error:
        say(f"mastery: the environment {environment} cannot be made: {error}")
        say("Remedy: MASTERY_HOME=FOLDER puts it into another folder.")
        return MACHINE_CANNOT
    except KeyboardInterrupt:
        say("mastery: interrupted; nothing half-made is in use, the next start begins again.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
