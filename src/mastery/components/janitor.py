"""Clears what killed runs left behind, and nothing of a run that lives."""

import time
from dataclasses import dataclass
from pathlib import Path

from mastery.components import belongings
from mastery.components.belongings import DOOMED
from mastery.components.run_folder import OWNER, gate, is_owned

_SECONDS_TO_BE_OWNED = 60


@dataclass(frozen=True, slots=True)
class Swept:
    """One dead run: what was cleared, or what could not be."""

    run: str
    folder: Path
    troubles: tuple[str, ...] = ()


def leftovers(runs: Path) -> tuple[Path, ...]:
    """The folders of dead runs, untouched; cheap when there is none."""
    if not runs.is_dir():
        return ()
    folders = sorted(each for each in runs.iterdir() if each.is_dir() and not each.is_symlink())
    if not folders:
        return ()
    with gate(runs):
        return tuple(each for each in folders if each.name.startswith(DOOMED) or not (is_owned(each) or _is_just_made(each)))


def _is_just_made(folder: Path) -> bool:
    """Whether its owner may still be about to own it: the gate sees to that only where files can be locked."""
    try:
        return not (folder / OWNER).exists() and time.time() - folder.stat().st_mtime < _SECONDS_TO_BE_OWNED
    except FileNotFoundError:
        return True


def sweep(runs: Path) -> tuple[Swept, ...]:
    """Clears every dead run below `runs`; two at once share the work or do it twice, both are harmless."""
    swept = []
    for folder in leftovers(runs):
        run = folder.name.removeprefix(DOOMED)
        swept.append(Swept(run, folder, belongings.clear(folder, run)))
    return tuple(swept)
