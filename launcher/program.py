"""Runs the program inside its environment, and gives it the extra that it finds missing while it starts.

The program says so by ending with status 75 and the extra's name in the file named by MASTERY_NEEDS. It runs in this
very process: a signal sent to the launcher reaches the program, and who kills the one has killed the other.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

CLONE = Path(__file__).resolve().parent.parent
NEEDS_AN_EXTRA = 75


def run_program() -> int:
    """The status that `python -m mastery` ends with."""
    try:
        runpy.run_module("mastery", run_name="__main__")
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            sys.stderr.write(leaving.code + "\n")
            return 1
        return leaving.code or 0
    return 0


def add_extra(extra: str, already_added: list[str]) -> None:
    """Installs the extra from its lock, or ends with the reason."""
    lock = f"requirements-{extra}.lock"
    if not re.fullmatch(r"[a-z]+", extra) or not (CLONE / lock).is_file():
        sys.exit(f"mastery: the program asks for an extra {extra!r}, but there is no {lock}. Remedy: git pull")
    if extra in already_added:
        sys.stderr.write(
            f"mastery: the extra {extra!r} is installed and yet the program does not find it.\n"
            f"Remedy: remove {sys.prefix} and start again.\n"
        )
        sys.exit(4)
    sys.stderr.write(f"This needs the extra {extra!r}; it is installed once, beside the rest.\n")
    base_python = getattr(sys, "_base_executable", sys.executable)
    prepare = [base_python, "-E", "-s", str(CLONE / "launcher" / "prepare.py"), str(CLONE), sys.prefix, lock]
    status = subprocess.call(prepare)
    if status:
        sys.exit(status)


def main() -> NoReturn:
    needs = Path(sys.prefix) / "launcher" / f"needs.{os.getpid()}"
    needs.unlink(missing_ok=True)
    os.environ["MASTERY_NEEDS"] = str(needs)
    already_added = os.environ.pop("MASTERY_ADDED", "").split()
    sys.argv[0] = str(CLONE / "mastery")
    status = run_program()
    if status != NEEDS_AN_EXTRA or not needs.exists():
        sys.exit(status)
    extra = needs.read_text(encoding="utf-8").strip()
    needs.unlink()
    sys.stdout.flush()
    add_extra(extra, already_added)
    os.environ["MASTERY_ADDED"] = " ".join([*already_added, extra])
    os.execv(sys.executable, [sys.executable, "-P", __file__, *sys.argv[1:]])


if __name__ == "__main__":
    main()
