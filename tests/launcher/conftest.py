"""A clone in miniature: the real launcher over two tiny packages, all from a folder of wheels, no network."""

import base64
import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = '''"""Says who it is, and asks for the extra when told to need it."""

import importlib.util
import os
import sys


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word == "needs-extra" and importlib.util.find_spec("tiny_extra") is None:
        open(os.environ["MASTERY_NEEDS"], "w").write("extra")
        return 75
    if word == "never-content":
        open(os.environ["MASTERY_NEEDS"], "w").write("extra")
        return 75
    if word == "status":
        sys.exit(int(sys.argv[2]))
    print(os.getpid(), *sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''


def write_wheel(folder: Path, name: str) -> str:
    """A wheel with one empty module; returns its line in a lock."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for path, content in files.items()
    )
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@dataclass
class TinyClone:
    """Where it lies, and the environment variables that its launcher is started with."""

    folder: Path
    wheels: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Path:
        return self.folder / ".venv"

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.folder / "mastery", *words],
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words, **variables) as process:
            said, complained = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, said, complained)


@pytest.fixture
def tiny_clone(tmp_path: Path) -> TinyClone:
    clone, wheels = tmp_path / "clone", tmp_path / "wheels"
    shutil.copytree(REPOSITORY / "launcher", clone / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "mastery", clone / "mastery")
    package = clone / "src" / "mastery"
    package.mkdir(parents=True)
    wheels.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    (clone / "pyproject.toml").write_text("[project]\nname = 'backend-mastery'\nversion = '1.2.3'\ndescription = 'tiny'\n")
    (clone / "requirements.lock").write_text(write_wheel(wheels, "tiny_base"))
    (clone / "requirements-extra.lock").write_text(write_wheel(wheels, "tiny_extra"))
    variables = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "MASTERY_OFFLINE": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
        # Whoever configured pip is served by pip, also where there is a uv.
        "PIP_PROXY": "http://127.0.0.1:9",
    }
    return TinyClone(clone, wheels, variables)


@pytest.fixture
def ready_clone(tiny_clone: TinyClone) -> TinyClone:
    """The same after its first start."""
    assert tiny_clone.run().returncode == 0
    return tiny_clone


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Inode and time of change of each file of a folder: equal exactly when nothing was written."""

    def take(folder: Path) -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
            for path in folder.rglob("*")
            if "__pycache__" not in str(path)
        }

    return take
