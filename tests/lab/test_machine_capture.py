"""Other people's machines, laid out as folders: what is captured, and what is never captured."""

import dataclasses
import os
import platform
from pathlib import Path

import msgspec
import pytest

from mastery.lab.machine import Machine, capture

CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC 7R13 Processor\nflags\t\t: fpu vme {flags}\n"
MEMINFO = "MemTotal:       16384000 kB\nMemFree:         1000 kB\nMemAvailable:    8192000 kB\nSwapTotal:       2048 kB\n"


def machine_of(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return capture(root=root)


def virtual_machine(root: Path, **more: str) -> Machine:
    return machine_of(
        root,
        {
            "proc/cpuinfo": CPUINFO.format(flags="hypervisor"),
            "proc/meminfo": MEMINFO,
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/class/dmi/id/sys_vendor": "QEMU\n",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            **more,
        },
    )


@pytest.fixture(autouse=True)
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: "6.18.44-custom-of-somebody")


def test_a_virtual_machine_is_described_by_what_its_kernel_says(tmp_path: Path) -> None:
    machine = virtual_machine(tmp_path)
    cores = len(os.sched_getaffinity(0))
    assert machine.machine_class == f"{cores}-core AMD EPYC 7R13 KVM virtual machine, Linux 6.18"
    assert machine.processor.model == "AMD EPYC 7R13 Processor"
    assert machine.memory.total_byte == 16384000 * 1024
    assert machine.memory.available_byte == 8192000 * 1024
    assert machine.memory.swap_byte == 2048 * 1024
    assert machine.memory.huge_pages == "madvise"
    assert machine.system == "Debian GNU/Linux 12 (bookworm)"
    assert machine.clock_source == "kvm-clock"
    assert machine.virtualisation == "KVM"
    assert machine.container is None
    assert machine.interpreter.version == platform.python_version()


def test_a_laptop_of_a_cloud_vendor_is_no_virtual_machine(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": CPUINFO.format(flags="sse"), "sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n"}
    machine = machine_of(tmp_path, files)
    assert machine.virtualisation is None
    assert "EPYC 7R13 machine, Linux 6.18" in machine.machine_class


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n", "Amazon Nitro"),
        ("sys/class/dmi/id/product_name", "VMware Virtual Platform\n", "VMware"),
        ("sys/hypervisor/type", "xen\n", "Xen"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc kvm-clock\n", "KVM"),
        ("etc/nothing", "", "unknown"),
    ],
)
def test_the_hypervisor_is_named_by_whichever_source_knows_it(tmp_path: Path, name: str, text: str, expected: str) -> None:
    machine = machine_of(tmp_path, {"proc/cpuinfo": CPUINFO.format(flags="hypervisor"), name: text})
    assert machine.virtualisation == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".dockerenv": ""}, "Docker"),
        ({"run/.containerenv": ""}, "Podman"),
        ({"proc/1/cgroup": "0::/kubepods.slice/pod1\n"}, "Kubernetes"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_a_container_is_recognised(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    assert machine_of(tmp_path, files).container == expected


@pytest.mark.parametrize(("status", "on_battery"), [("Discharging\n", True), ("Charging\n", False), ("Full\n", False)])
def test_a_laptop_says_whether_it_runs_on_its_battery(tmp_path: Path, status: str, on_battery: bool) -> None:
    supply = "sys/class/power_supply"
    files = {f"{supply}/BAT0/type": "Battery\n", f"{supply}/BAT0/status": status, f"{supply}/BAT0/capacity": "77\n"}
    power = machine_of(tmp_path, files).power
    assert (power.on_battery, power.battery_percent) == (on_battery, 77)


def test_the_battery_of_a_mouse_is_not_that_of_the_machine(tmp_path: Path) -> None:
    supply = "sys/class/power_supply/hidpp_battery_0"
    files = {f"{supply}/type": "Battery\n", f"{supply}/scope": "Device\n", f"{supply}/status": "Discharging\n"}
    assert machine_of(tmp_path, files).power.on_battery is False


def test_frequency_and_pressure_are_read_where_they_are_told(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    machine = machine_of(
        tmp_path,
        {
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu0/cpufreq/scaling_driver": "acpi-cpufreq\n",
            f"{cpu}/intel_pstate/no_turbo": "1\n",
            "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\n",
        },
    )
    assert (machine.processor.governor, machine.processor.frequency_driver) == ("powersave", "acpi-cpufreq")
    assert machine.processor.turbo is False
    assert machine.pressure_avg10 == {"cpu": 0.125}


def test_a_system_that_tells_nothing_is_captured_all_the_same(tmp_path: Path) -> None:
    machine = capture(root=tmp_path)
    assert machine.processor.governor is None
    assert machine.processor.turbo is None
    assert machine.memory.total_byte > 0
    assert machine.pressure_avg10 == {}
    assert machine.clock_source
    assert machine.machine_class


def test_macos_is_captured_degraded_and_without_raising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "release", lambda: "23.1.0")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.1", ("", "", ""), "arm64"))
    monkeypatch.delattr(os, "sched_getaffinity")
    machine = capture(root=tmp_path)
    assert machine.system == "macOS 14.1"
    assert machine.machine_class == f"{os.cpu_count()}-core arm machine, Darwin 23.1"


def test_the_fingerprint_stays_while_only_the_moment_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = virtual_machine(tmp_path / "first")
    monkeypatch.setattr(platform, "release", lambda: "6.18.45-security-update")
    second = virtual_machine(
        tmp_path / "second",
        **{
            "proc/meminfo": MEMINFO.replace("8192000", "100000").replace("16384000", "16383500"),
            "proc/pressure/cpu": "some avg10=50.00 avg60=0.00 avg300=0.00 total=5\n",
        },
    )
    assert first.fingerprint == second.fingerprint
    assert first.memory != second.memory


@pytest.mark.parametrize(
    "change",
    [
        {"proc/cpuinfo": CPUINFO.format(flags="hypervisor").replace("7R13", "9R14")},
        {"proc/meminfo": MEMINFO.replace("16384000", "32768000")},
        {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n"},
        {".dockerenv": ""},
    ],
)
def test_the_fingerprint_changes_with_the_machine(tmp_path: Path, change: dict[str, str]) -> None:
    assert virtual_machine(tmp_path / "one").fingerprint != virtual_machine(tmp_path / "other", **change).fingerprint


def test_nothing_that_names_the_owner_is_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "etc/hostname": "secret-host\n",
        "etc/machine-id": "secret-id\n",
        "proc/sys/kernel/hostname": "secret-host\n",
        "sys/class/dmi/id/product_serial": "secret-serial\n",
        "sys/class/dmi/id/product_uuid": "secret-uuid\n",
        "sys/class/dmi/id/board_asset_tag": "secret-tag\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/secret-unit.scope\n",
    }
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    text = msgspec.json.encode(virtual_machine(tmp_path, **secrets)).decode()
    assert "secret" not in text


def test_a_real_capture_becomes_json_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    machine = capture()
    assert msgspec.json.decode(msgspec.json.encode(machine), type=Machine) == machine
    assert platform.node() == "" or platform.node() not in machine.machine_class
    again = dataclasses.replace(capture(), memory=machine.memory, load_average=machine.load_average)
    assert dataclasses.replace(again, pressure_avg10=machine.pressure_avg10, power=machine.power) == machine
