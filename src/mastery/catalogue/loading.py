"""Loading one experiment for a run: the only place where the code of an article or of a user's file is executed."""

import hashlib
import importlib
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from mastery.catalogue.catalogue import OUR_ARTICLES, Catalogue
from mastery.errors import BrokenExperiment, MasteryError, UnknownName, UsageError
from mastery.lab.experiment import Experiment


def load_experiment(name: str, catalogue: Catalogue) -> Experiment:
    """The experiment that `ID`, `ARTICLE`, `./file.py` or `./file.py::ID` stands for, declared and ready to be run.

    Raises `UnknownName` with the nearest names, `BrokenExperiment` with file, line and remedy where the file does not
    load, `UsageError` where a file declares several experiments and none is named.
    """
    path, _, wanted = name.partition("::")
    if is_file_name(path):
        return _choose(_load_foreign(Path(path)), Path(path), wanted)
    listing = catalogue.experiment(name)
    module = _load_ours(listing.file) if listing.file.is_relative_to(OUR_ARTICLES) else _load_foreign(listing.file)
    return _choose(module, listing.file, listing.id)


def is_file_name(name: str) -> bool:
    """Whether a name on the command line means a file of the user's own rather than something of the catalogue."""
    return name.endswith(".py") or "/" in name or "\\" in name


def _choose(module: ModuleType, file: Path, wanted: str) -> Experiment:
    found = {each.id: each for each in vars(module).values() if isinstance(each, Experiment)}
    if wanted and wanted not in found:
        raise UnknownName("experiment", wanted, list(found), remedy=f"{file} declares: {', '.join(found) or 'none'}.")
    if wanted:
        return found[wanted]
    if not found:
        remedy = "Decorate a generator function with `@experiment(...)` from `mastery.lab`."
        raise BrokenExperiment(f"{file} declares no experiment.", remedy=remedy)
    if len(found) > 1:
        raise UsageError(
            f"{file} declares {len(found)} experiments: {', '.join(found)}.", remedy=f"Name one: {file}::{next(iter(found))}"
        )
    return next(iter(found.values()))


def _load_ours(file: Path) -> ModuleType:
    dotted = ".".join(["mastery", "articles", *file.relative_to(OUR_ARTICLES).with_suffix("").parts])
    try:
        return importlib.import_module(dotted)
    except MasteryError:
        raise
    except Exception as error:
        raise _broken(file, error) from error


def _load_foreign(file: Path) -> ModuleType:
    """Executes a file under a name of its own, so that it can neither hide nor be hidden by another module."""
    if not file.is_file():
        raise UsageError(
            f"There is no file {str(file)!r}.", remedy="Check the path, or see `mastery list` for our own experiments."
        )
    resolved = file.resolve()
    unique = f"mastery_file_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}_{resolved.stem}"
    spec = spec_from_file_location(unique, resolved)
    if spec is None or spec.loader is None:
        raise BrokenExperiment(f"{file} is not a Python file.", remedy="Give the experiment a file that ends in .py.")
    module = module_from_spec(spec)
    sys.modules[unique] = module
    # Last on the path and only while the file loads: its neighbours can be imported, and none of them can take the
    # place of a module that somebody else means.
    sys.path.append(str(resolved.parent))
    try:
        spec.loader.exec_module(module)
    except MasteryError:
        del sys.modules[unique]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[unique]
        raise _broken(file, error) from error
    finally:
        sys.path.remove(str(resolved.parent))
    return module


def _broken(file: Path, error: BaseException) -> BrokenExperiment:
    """What the file did wrong, in one sentence that names its own line rather than the line of a library."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == file.name:
        return BrokenExperiment(f"{file}, line {error.lineno}: {error.msg}.", remedy="Mend this line and run it again.")
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    where = f"{file}, line {lines[-1]}" if lines else str(file)
    remedy = "Mend this line and run it again."
    if isinstance(error, ModuleNotFoundError):
        remedy = f"Install what brings the module {error.name!r}, or mend the import."
    text = str(error).strip() or "no message"
    return BrokenExperiment(f"{where}: {type(error).__name__}: {text}", remedy=remedy)
