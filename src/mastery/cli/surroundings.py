"""What about this machine's surroundings a reader should know before a run: one line for each thing that applies."""

import configparser
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from mastery.components.device import DeviceFacts
from mastery.lab.machine import Machine

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
_PACKAGE = "backend-mastery"
# What builds and checks this program, of no use to one who runs it.
_NOT_OURS_TO_OFFER = frozenset({"dev"})


def surroundings(
    machine: Machine, disk: DeviceFacts, *, environment: Mapping[str, str], pip_files: Sequence[Path] = ()
) -> list[str]:
    """The lines; no value of a variable is repeated, for an address may hold a password."""
    return [*_power(machine), *_container(machine), *_disk(disk), *_network(environment, pip_files)]


def pip_files(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where pip reads its configuration, as its manual has it."""
    named = [Path(environment["PIP_CONFIG_FILE"])] if environment.get("PIP_CONFIG_FILE") else []
    return (*named, home / ".config" / "pip" / "pip.conf", home / ".pip" / "pip.conf", Path("/etc/pip.conf"))


def _power(machine: Machine) -> list[str]:
    # On battery the advice on the machine says it already.
    if machine.power.battery_percent is None or machine.power.on_battery:
        return []
    return [f"It has a battery ({machine.power.battery_percent} %) and is plugged in: keep it so, and awake, during a run."]


def _container(machine: Machine) -> list[str]:
    if machine.container is None:
        return []
    limits = machine.limits
    memory = f"{limits.memory_byte / 2**30:.3g} GiB of memory" if limits.memory_byte is not None else ""
    cores = f"{limits.cpu_cores:g} cores" if limits.cpu_cores is not None else ""
    allowed = " and ".join(filter(None, (cores, memory)))
    limited = f"; it is limited to {allowed}" if allowed else ""
    return [f"It is a {machine.container} container: kernel, disk and neighbours are its host's{limited}."]


def _disk(disk: DeviceFacts) -> list[str]:
    elsewhere = "--on disk=FOLDER measures another disk."
    if disk.over_network:
        return [f"Runs write over a network ({disk.file_system}): a flush pays for the way there. {elsewhere}"]
    if disk.in_memory:
        return [f"Runs would write to memory ({disk.file_system}), where a flush costs nothing. {elsewhere}"]
    if disk.encrypted_by:
        return [f"Runs write to an encrypted place ({disk.encrypted_by}): every figure of the disk includes it. {elsewhere}"]
    return []


def _network(environment: Mapping[str, str], pip_files: Sequence[Path]) -> list[str]:
    found = []
    proxy = next((name for name in _PROXIES if environment.get(name)), None)
    if proxy:
        found.append(f"A proxy is set ({proxy}): what has to be fetched comes through it.")
    index = next((name for name in _INDEXES if environment.get(name)), None) or _index_in(pip_files)
    if index:
        found.append(f"A package index of your own is set ({index}): extras come from there.")
    return found


def _index_in(files: Sequence[Path]) -> str | None:
    """The first file of pip's that names an index; one that cannot be read names none."""
    for file in files:
        # Without interpolation, for an address may hold a percent sign.
        read = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            read.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        if any(read.has_option(section, key) for section in read.sections() for key in ("index-url", "extra-index-url")):
            return str(file)
    return None


def extras(requirements: Sequence[str] | None = None) -> dict[str, bool]:
    """Every extra of this program, and whether all that it consists of is installed."""
    if requirements is None:
        try:
            requirements = requires(_PACKAGE) or []
        except PackageNotFoundError:
            requirements = []
    found: dict[str, bool] = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9._-]+).*\bextra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match and match.group(2) not in _NOT_OURS_TO_OFFER:
            found[match.group(2)] = found.get(match.group(2), True) and _is_installed(match.group(1))
    return found


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
