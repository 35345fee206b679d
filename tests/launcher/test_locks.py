"""The lock files: what they promise to pip, and that they still say what pyproject.toml asks for."""

import hashlib
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = {path.name: path.read_text("utf-8") for path in REPOSITORY.glob("requirements*.lock")}


def pinned(lock: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", lock, re.MULTILINE)}


def test_there_is_one_lock_for_the_base_and_one_for_each_extra():
    extras = {f"requirements-{extra}.lock" for extra in PROJECT["optional-dependencies"]}
    assert set(LOCKS) == {"requirements.lock", *extras}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_a_lock_satisfies_what_the_project_asks_for(name):
    extra = re.fullmatch(r"requirements-?(\w*)\.lock", name)[1]
    asked = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(extra, [])]
    pins = pinned(LOCKS[name])
    unsatisfied = [str(each) for each in asked if pins.get(canonicalize_name(each.name), "0") not in each.specifier]
    assert unsatisfied == [], "run launcher/lock"


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_line_of_a_lock_is_a_pin_with_its_hashes_or_a_comment(name):
    lines = LOCKS[name].splitlines()
    strange = [
        line
        for line in lines
        if not re.match(r"#|    --hash=sha256:[0-9a-f]{64}( \\)?$|[A-Za-z0-9._-]+==\S+( ; [^\\]+)? \\$", line)
    ]
    assert strange == []
    without_hash = [line for line, following in pairwise(lines) if "==" in line and "--hash" not in following]
    assert without_hash == []


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_a_lock_names_no_index_and_no_host(name):
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|file:", LOCKS[name])


def test_all_locks_agree_so_that_any_can_be_installed_beside_any_other():
    versions_by_name: dict[str, set[str]] = {}
    for lock in LOCKS.values():
        for name, version in pinned(lock).items():
            versions_by_name.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in versions_by_name.items() if len(versions) > 1} == {}


def test_every_pinned_package_has_a_wheel_whose_size_is_known():
    sized = {canonicalize_name(line.split("-")[0]) for line in (REPOSITORY / "launcher" / "sizes").read_text("utf-8").splitlines()}
    windows_only = {"colorama", "tzdata", "pywin32"}
    assert {name for lock in LOCKS.values() for name in pinned(lock)} - sized - windows_only == set()


@pytest.mark.parametrize("machine", ["manylinux.*_x86_64", "manylinux.*_aarch64", "macosx.*_(arm64|universal2)"])
def test_every_package_has_a_wheel_for_the_machines_that_the_readme_names(machine):
    wheels = [line.split(" ")[0] for line in (REPOSITORY / "launcher" / "sizes").read_text("utf-8").splitlines() if ".whl" in line]
    # A referee of our tests that pyproject.toml asks for on x86-64 alone.
    asked_on_x86_alone = set() if "x86_64" in machine else {"hdrhistogram"}
    fitting = {wheel.split("-")[0] for wheel in wheels if re.search(rf"-({machine}|any)\.whl$|-{machine}\.", wheel)}
    assert {wheel.split("-")[0] for wheel in wheels} - fitting == asked_on_x86_alone


def test_the_pinned_pip_is_the_file_that_the_launcher_expects():
    fetch = (REPOSITORY / "launcher" / "fetch.py").read_text("utf-8")
    (wheel,) = (REPOSITORY / "launcher").glob("pip-*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in fetch
    assert wheel.name in (REPOSITORY / "launcher" / "wheels.py").read_text("utf-8")
