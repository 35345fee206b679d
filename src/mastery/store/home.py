"""Where our files live: the XDG folders, all of them replaced by the environment variable `MASTERY_HOME`."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

VARIABLE = "MASTERY_HOME"
DATABASE = "mastery.sqlite"


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The data folder: the store, run folders, what must survive."""
    return _chosen(environment) or Path(platformdirs.user_data_dir("mastery", appauthor=False))


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """What can be made again at any time."""
    chosen = _chosen(environment)
    return chosen / "cache" if chosen else Path(platformdirs.user_cache_dir("mastery", appauthor=False))


def config_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's own files: settings and named targets."""
    chosen = _chosen(environment)
    return chosen / "config" if chosen else Path(platformdirs.user_config_dir("mastery", appauthor=False))


def database(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of the store."""
    return home(environment) / DATABASE


def _chosen(environment: Mapping[str, str]) -> Path | None:
    value = environment.get(VARIABLE, "")
    # Made absolute at once: a relative home would move with every change of the working folder.
    return Path(value).expanduser().absolute() if value else None
