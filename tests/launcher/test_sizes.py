"""What the launcher says about sizes before it fetches, from the locks and the list of sizes alone."""

import subprocess
import sys
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[2] / "launcher"

ASK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from wheels import wheels_of
for wheel in wheels_of([Path(name) for name in sys.argv[2:]]):
    print(wheel.name, wheel.version, wheel.size_bytes)
"""


def wheels_of(*locks: Path) -> dict[str, tuple[str, str]]:
    """In a process of its own: the pip that it takes markers and tags from must not stay in this one."""
    said = subprocess.check_output([sys.executable, "-c", ASK, LAUNCHER, *locks], text=True)
    return {name: (version, size) for name, version, size in (line.split() for line in said.splitlines())}


def test_every_package_of_the_base_has_a_size_for_this_python():
    wheels = wheels_of(LAUNCHER.parent / "requirements.lock")
    assert len(wheels) >= 7
    assert [name for name, (_, size) in wheels.items() if size == "None"] == []


def test_a_package_in_two_locks_is_counted_once():
    base, extra = LAUNCHER.parent / "requirements.lock", LAUNCHER.parent / "requirements-valkey.lock"
    assert wheels_of(base, extra).keys() >= wheels_of(base).keys()
    assert wheels_of(base, base) == wheels_of(base)


def test_a_line_whose_marker_does_not_hold_here_is_left_out(tmp_path):
    lock = tmp_path / "requirements.lock"
    elsewhere, here = "numpy==1.0 ; sys_platform == 'plan9'", "rich==15.0.0 ; python_version >= '3'"
    lock.write_text("".join(f"{line} \\\n    --hash=sha256:00\n" for line in (elsewhere, here)))
    assert wheels_of(lock).keys() == {"rich"}


def test_a_version_of_unknown_size_is_said_to_be_unknown(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1 \\\n    --hash=sha256:00\n")
    assert wheels_of(lock) == {"numpy": ("0.0.1", "None")}
