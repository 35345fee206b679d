"""What machine the figures come from, without anything that names its owner: captured once a run.

Everything is read below `root`, so that a test can lay out another machine's /proc and /sys in a folder.
No host name, serial number, address or user name is read at all: what is not read cannot leak.
"""

import hashlib
import json
import os
import platform
import re
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from mastery.components.cgroup import ambient_limits

HYPERVISORS = {  # what the firmware, or the list of clock sources, says about who runs this machine
    "QEMU": "KVM",
    "KVM": "KVM",
    "kvm-clock": "KVM",
    "Amazon EC2": "Amazon Nitro",
    "Google": "Google Compute Engine",
    "Microsoft Corporation": "Hyper-V",
    "hyperv_clocksource": "Hyper-V",
    "VMware": "VMware",
    "innotek": "VirtualBox",
    "Parallels": "Parallels",
    "Xen": "Xen",
    "xen": "Xen",
}


@dataclass(frozen=True, slots=True)
class Processor:
    """`cores_usable` is what the affinity of this process allows, `cores` what is online."""

    model: str
    cores: int
    cores_usable: int
    architecture: str
    governor: str | None
    frequency_driver: str | None
    turbo: bool | None


@dataclass(frozen=True, slots=True)
class Memory:
    total_byte: int
    available_byte: int | None
    swap_byte: int | None
    huge_pages: str | None  # the chosen word of transparent_hugepage/enabled


@dataclass(frozen=True, slots=True)
class Interpreter:
    version: str
    implementation: str
    gil: bool
    debug_build: bool
    optimised: bool  # python -O: assertions are off


@dataclass(frozen=True, slots=True)
class Power:
    on_battery: bool
    battery_percent: int | None


@dataclass(frozen=True, slots=True)
class AmbientLimits:
    """What the surroundings (a container, a service) allow us; nothing means no limit."""

    cpu_cores: float | None
    memory_byte: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """`fingerprint` is a hash of what does not change between two runs; `machine_class` is its label for people."""

    machine_class: str
    fingerprint: str
    processor: Processor
    memory: Memory
    kernel: str
    system: str
    interpreter: Interpreter
    clock_source: str | None
    virtualisation: str | None
    container: str | None
    limits: AmbientLimits
    power: Power
    load_average: float | None
    pressure_avg10: dict[str, float]  # share of the last 10 s, by resource, in which some task stood waiting


def capture(*, root: Path = Path("/")) -> Machine:
    """Never raises for what a system does not tell: an absent fact is None, and the page says "not known"."""
    processor, memory = _processor(root), _memory(root)
    virtualisation, container = _virtualisation(root), _container(root)
    kernel, system = f"{platform.system()} {platform.release()}", _system(root)
    clock_source = _words(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    cpu_cores, memory_byte = ambient_limits(root=root)
    machine_class = _machine_class(processor, virtualisation, container, kernel)
    stable = [
        *(processor.model, processor.cores, processor.cores_usable, processor.architecture),
        *(round(memory.total_byte / 2**30), _short_kernel(kernel), system, clock_source),
        *(virtualisation, container, cpu_cores, memory_byte, memory.huge_pages),
    ]
    return Machine(
        machine_class=machine_class,
        fingerprint=hashlib.sha256(json.dumps(stable).encode()).hexdigest()[:16],
        processor=processor,
        memory=memory,
        kernel=kernel,
        system=system,
        interpreter=_interpreter(),
        clock_source=clock_source or time.get_clock_info("perf_counter").implementation,
        virtualisation=virtualisation,
        container=container,
        limits=AmbientLimits(cpu_cores, memory_byte),
        power=_power(root),
        load_average=_load_average(),
        pressure_avg10=_pressure(root),
    )


def _machine_class(processor: Processor, virtualisation: str | None, container: str | None, kernel: str) -> str:
    model = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*", "", processor.model)
    kind = f"{virtualisation} virtual machine" if virtualisation else "machine"
    inside = f" in a {container} container" if container else ""
    return f"{processor.cores_usable}-core {' '.join(model.split())} {kind}{inside}, {_short_kernel(kernel)}"


def _short_kernel(kernel: str) -> str:
    """Name, major and minor version: a security update of the kernel is the same machine."""
    found = re.match(r"\S+ \d+(\.\d+)?", kernel)
    return found.group() if found else kernel


def _words(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _processor(root: Path) -> Processor:
    described = _words(root / "proc/cpuinfo") or ""
    named = re.search(r"^(?:model name|Model|cpu model|Hardware)\s*:\s*(.+)$", described, re.MULTILINE)
    cores = os.cpu_count() or 1
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    return Processor(
        model=named.group(1).strip() if named else platform.processor() or platform.machine() or "unknown processor",
        cores=cores,
        cores_usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        architecture=platform.machine(),
        governor=_words(frequency / "scaling_governor"),
        frequency_driver=_words(frequency / "scaling_driver"),
        turbo=_turbo(root / "sys/devices/system/cpu"),
    )


def _turbo(folder: Path) -> bool | None:
    forbidden = _words(folder / "intel_pstate/no_turbo")
    if forbidden is not None:
        return forbidden == "0"
    allowed = _words(folder / "cpufreq/boost")
    return None if allowed is None else allowed == "1"


def _memory(root: Path) -> Memory:
    byte = {
        name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", _words(root / "proc/meminfo") or "", re.MULTILINE)
    }
    chosen = re.search(r"\[(\w+)\]", _words(root / "sys/kernel/mm/transparent_hugepage/enabled") or "")
    return Memory(
        total_byte=byte.get("MemTotal") or _physical_memory(),
        available_byte=byte.get("MemAvailable"),
        swap_byte=byte.get("SwapTotal"),
        huge_pages=chosen.group(1) if chosen else None,
    )


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _system(root: Path) -> str:
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', _words(root / "etc/os-release") or "", re.MULTILINE)
    if named:
        return named.group(1)
    version = platform.mac_ver()[0]
    return f"macOS {version}" if version else platform.system()


def _interpreter() -> Interpreter:
    # 3.13 can be built without the lock; older ones always have it and lack the question.
    has_gil = getattr(sys, "_is_gil_enabled", None)
    return Interpreter(
        version=platform.python_version(),
        implementation=platform.python_implementation(),
        gil=bool(has_gil()) if has_gil else True,
        debug_build=bool(sysconfig.get_config_var("Py_DEBUG")),
        optimised=sys.flags.optimize > 0,
    )


def _virtualisation(root: Path) -> str | None:
    """The hypervisor's name; None on bare metal. Inside a container this is still what the host runs on."""
    firmware = [_words(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    clocks = _words(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", _words(root / "proc/cpuinfo") or "", re.MULTILINE)
    paravirtual = _words(root / "sys/hypervisor/type")
    # Microsoft sells laptops too: on x86 the processor's flag decides, elsewhere the firmware's word must do.
    if not flags and not paravirtual and platform.machine() in ("x86_64", "AMD64"):
        return None
    for told in (*firmware, paravirtual, clocks):
        for word, name in HYPERVISORS.items():
            if told and word in told:
                return name
    return "unknown" if flags or paravirtual else None


def _container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "Docker"
    if (root / "run/.containerenv").exists():
        return "Podman"
    groups = _words(root / "proc/1/cgroup") or ""
    for word, name in (("kubepods", "Kubernetes"), ("docker", "Docker"), ("libpod", "Podman"), ("/lxc", "LXC")):
        if word in groups:
            return name
    return None


def _power(root: Path) -> Power:
    supplies = root / "sys/class/power_supply"
    percent: int | None = None
    discharging = False
    for supply in sorted(supplies.glob("*")) if supplies.is_dir() else ():
        # A wireless mouse reports a battery as well; only that of the system says on what the machine runs.
        if _words(supply / "type") != "Battery" or _words(supply / "scope") == "Device":
            continue
        told = _words(supply / "capacity") or ""
        percent = int(told) if told.isdigit() else percent
        discharging = discharging or _words(supply / "status") == "Discharging"
    return Power(on_battery=discharging, battery_percent=percent)


def _load_average() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _pressure(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for resource in ("cpu", "memory", "io"):
        told = re.match(r"some avg10=([\d.]+)", _words(root / "proc/pressure" / resource) or "")
        if told:
            found[resource] = float(told.group(1)) / 100
    return found
