"""What surrounds a machine is told in one line for each thing that applies, and never with a secret in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.examination import examine_all
from mastery.cli.surroundings import extras, pip_files, surroundings
from mastery.components.device import DeviceFacts, describe
from mastery.lab.machine import AmbientLimits, Machine, Power, capture

HERE = replace(capture(), power=Power(False, None), container=None, limits=AmbientLimits(None, None))


def disk_with(tmp_path: Path, **changes: Any) -> DeviceFacts:
    plain = {"encrypted_by": None, "in_memory": False, "over_network": False}
    return replace(describe(tmp_path), **{**plain, **changes})


def told(tmp_path: Path, machine: Machine = HERE, *, environment: dict[str, str] | None = None, **disk: Any) -> list[str]:
    return surroundings(machine, disk_with(tmp_path, **disk), environment=environment or {}, pip_files=())


def test_a_plain_machine_has_nothing_to_tell(tmp_path: Path) -> None:
    assert told(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"power": Power(False, 83)}, "a battery (83 %) and is plugged in: keep it so, and awake"),
        ({"container": "Docker"}, "It is a Docker container: kernel, disk and neighbours are its host's."),
        ({"container": "Podman", "limits": AmbientLimits(1.5, 2**30)}, "it is limited to 1.5 cores and 1 GiB of memory."),
    ],
)
def test_battery_and_container_are_one_line_each(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    (line,) = told(tmp_path, replace(HERE, **changes))
    assert words in line


def test_on_battery_the_advice_on_the_machine_says_it_alone(tmp_path: Path) -> None:
    assert told(tmp_path, replace(HERE, power=Power(True, 40))) == []


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        ({"over_network": True, "file_system": "nfs4"}, "over a network (nfs4)"),
        ({"encrypted_by": "dm-crypt"}, "an encrypted place (dm-crypt)"),
        ({"in_memory": True, "file_system": "tmpfs"}, "to memory (tmpfs)"),
    ],
)
def test_a_home_that_bends_figures_of_the_disk_is_named_with_its_remedy(tmp_path: Path, disk: dict[str, Any], words: str) -> None:
    (line,) = told(tmp_path, **disk)
    assert words in line
    assert "--on disk=FOLDER" in line


def test_proxy_and_index_are_named_by_their_variable_and_never_by_their_value(tmp_path: Path) -> None:
    secret = "https://me:s3cret@proxy.example.org"
    lines = told(tmp_path, environment={"HTTPS_PROXY": secret, "PIP_INDEX_URL": secret})
    assert [line.partition(" (")[2].partition(")")[0] for line in lines] == ["HTTPS_PROXY", "PIP_INDEX_URL"]
    assert "s3cret" not in " ".join(lines)


@pytest.mark.parametrize(
    ("text", "names"), [("[global]\nindex-url = https://a:b%40c@d/\n", True), ("[global]\ntimeout = 9\n", False), ("broken", False)]
)
def test_an_index_in_pips_own_file_is_found_and_other_settings_are_none(tmp_path: Path, text: str, names: bool) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(text)
    files = pip_files({"PIP_CONFIG_FILE": str(file)}, tmp_path)
    assert files[0] == file
    lines = surroundings(HERE, disk_with(tmp_path), environment={}, pip_files=files[:1])
    assert lines == ([f"A package index of your own is set ({file}): extras come from there."] if names else [])


def test_an_extra_is_installed_when_all_its_parts_are() -> None:
    requirements = [
        "rich>=13",
        "msgspec>=0.18; extra == 'whole'",
        "rich>=13; python_version > '3' and extra == \"whole\"",
        "msgspec; extra == 'half'",
        "no-such-distribution; extra == 'half'",
        "pytest; extra == 'dev'",
    ]
    assert extras(requirements) == {"whole": True, "half": False}


def test_a_component_with_several_kinds_is_asked_for_each_and_for_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERY_HOME", str(tmp_path))
    (tmp_path / "targets.toml").write_text('[postgres.staging]\nurl_from = "X"\n')
    examined = examine_all(load_catalogue(third_parties=False), tmp_path)
    ways = {each.how.split()[0].rstrip(":"): each for entry in examined for each in entry.ways if each.name == "postgres"}
    assert set(ways) == {"embedded", "os", "target"}
    assert ways["target"].how == "target: staging (not asked)"
    disks = {each for entry in examined for each in entry.ways if each.name == "disk"}
    assert len(disks) == 1
