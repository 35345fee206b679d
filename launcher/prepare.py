"""Brings the environment of a clone up to date: a venv without pip, filled from hashed locks by the pinned pip beside this file.

    prepare.py CLONE ENVIRONMENT LOCK...

Needs a Python with its standard library, nothing else: neither pip nor ensurepip. A new environment is built aside and
renamed into place when it is whole; its folder `launcher` holds copies of the locks it was made from, which is how the
next start knows that it is current. Everything said goes to standard error: standard output belongs to the program.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fetch import Refused, announce, fill, options_for, pip_command, reason_of, run_logged, say
from wheels import wheels_of

MACHINE_CANNOT = 4


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
    announce(wheels_of(locks), where=environment)
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


def add(environment: Path, clone: Path, names: Sequence[str]) -> None:
    """Adds locks to an environment in place, for a program may be running from it.

    All is fetched before anything is touched: without a network the environment stays as good as it was.
    """
    locks = [clone / name for name in names]
    present = {folder.name.lower() for folder in site_packages(environment).glob("*.dist-info")}
    missing = [each for each in wheels_of(locks) if f"{each.name.replace('-', '_')}-{each.version}.dist-info" not in present]
    announce(missing, where=environment)
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
