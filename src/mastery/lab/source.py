"""Which text was run: figures of changed code are never taken for figures of the old code."""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


def source_hash(trial: Callable[..., Any]) -> str:
    """SHA-256 of the text of the module that declares the experiment; empty where there is no file."""
    path = inspect.getsourcefile(trial)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def code_hash(trial: Callable[..., Any]) -> str:
    """SHA-256 of that module's text together with the package's: a changed workload or component is changed code too."""
    return hashlib.sha256(f"{source_hash(trial)} {_package_hash(PACKAGE)}".encode()).hexdigest()


@cache
def _package_hash(folder: Path) -> str:
    """SHA-256 over the names and texts of all modules below the folder, in order; read once a process, in about 10 ms."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_bytes()
        # The length keeps the end of one text from being taken for the beginning of the next.
        whole.update(f"{path.relative_to(folder).as_posix()} {len(text)}\n".encode())
        whole.update(text)
    return whole.hexdigest()
