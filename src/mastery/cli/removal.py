"""Clearing up: what killed runs left behind, and everything of ours below the home folders."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mastery.catalogue.catalogue import load_catalogue
from mastery.cli.asking import read_key
from mastery.cli.terminal import Terminal
from mastery.components import janitor
from mastery.components.belongings import DOOMED
from mastery.components.cgroup import leftover_groups
from mastery.components.run_folder import is_owned
from mastery.errors import Busy, DomainError, UsageError
from mastery.report.numbers import quantity
from mastery.report.plain_text import printable
from mastery.store.home import DATABASE, cache_folder, config_folder, home
from mastery.workbench import close_killed_runs

# What we make in a data folder, by name: whatever else lies there is not ours and stays.
_OURS = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", "env")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What killed runs left: folders, control groups, and the runs that nobody closed."""

    folders: tuple[Path, ...]
    groups: tuple[Path, ...]

    @property
    def any(self) -> bool:
        return bool(self.folders or self.groups)


def runs_folder() -> Path:
    """Where runs have their folders."""
    return cache_folder() / "runs"


def leftovers() -> Leftovers:
    """Looks only."""
    folders = janitor.leftovers(runs_folder())
    dead = {folder.name.removeprefix(DOOMED) for folder in folders}
    groups = tuple(group for group in leftover_groups() if any(run in group.name for run in dead))
    return Leftovers(folders, groups)


def clean(terminal: Terminal) -> int:
    """Clears dead runs and closes them in the store; 1 when something could not be cleared."""
    swept = janitor.sweep(runs_folder())
    closed = close_killed_runs(load_catalogue())
    troubles = [trouble for each in swept for trouble in each.troubles]
    if terminal.is_json:
        terminal.document({"cleared": [each.run for each in swept], "closed": list(closed), "troubles": troubles})
    else:
        for each in swept:
            terminal.say(f"{'Cleared in part' if each.troubles else 'Cleared'}: {printable(each.run)}")
        for run in closed:
            terminal.say(f"Closed as interrupted, judged from its finished trials: {printable(run)}")
        for trouble in troubles:
            terminal.say(f"Left: {printable(trouble)}", hang=2)
        if not swept and not closed:
            terminal.say("Nothing was left behind.")
    return 1 if troubles else 0


def remove(terminal: Terminal, *, agreed: bool) -> int:
    """Removes our files below the home folders, after saying which; the user's own settings stay.

    Raises `UsageError` where nobody was asked, `Busy` while a run is measuring.
    """
    targets = _targets()
    if not targets:
        return _say_removed(terminal, [])
    if not terminal.is_json:
        terminal.say("This removes for good:")
        for path in targets:
            terminal.say(f"  {printable(str(path))}  ({quantity(float(_size(path)), 'B')})", hang=4)
        if config_folder().exists():
            terminal.say(f"Your own settings stay: {printable(str(config_folder()))}", hang=2)
        terminal.say("All runs in the store go with it; `mastery export -o FILE` keeps them.")
    if not agreed and not _agrees(terminal):
        terminal.say("Nothing was removed.")
        return 0
    janitor.sweep(runs_folder())
    if alive := _alive():
        raise Busy(f"Run {alive[0]} is being measured.", remedy="Wait until it ends, or stop it with Ctrl-C.")
    for path in targets:
        _remove(path)
    for folder in (cache_folder(), home()):
        _remove_if_empty(folder)
    return _say_removed(terminal, targets)


def _targets() -> list[Path]:
    # By name, never the folders as a whole: MASTERY_HOME may be set to a folder in which other things lie.
    ours = [*(home() / name for name in _OURS), runs_folder()]
    return [path for path in ours if path.exists() or path.is_symlink()]


def _alive() -> list[str]:
    """The runs whose folders are owned by a living process."""
    runs = runs_folder()
    return [each.name for each in sorted(runs.iterdir()) if each.is_dir() and is_owned(each)] if runs.is_dir() else []


def _agrees(terminal: Terminal) -> bool:
    if not terminal.is_interactive:
        raise UsageError("Nobody can be asked here whether to remove this.", remedy="Add --yes: mastery doctor --remove --yes")
    terminal.write("Remove it? y or any other key: ")
    terminal.stdout.flush()
    key = read_key()
    terminal.say()
    return key in {"y", "Y"}


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as refused:
        raise DomainError(f"{path} could not be removed: {refused.strerror}.", remedy=f"Remove it yourself: {path}") from refused


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _size(path: Path) -> int:
    files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    return sum(each.stat().st_size for each in files)


def _say_removed(terminal: Terminal, paths: list[Path]) -> int:
    if terminal.is_json:
        terminal.document({"removed": [str(path) for path in paths]})
    else:
        terminal.say("Removed." if paths else "There is nothing of ours to remove.")
    return 0
