"""The front matter of an article: what stands between the two `---` lines, decoded strictly into values."""

import datetime
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from mastery.errors import UsageError

# Front matter is a page of text at most; anything longer is not front matter.
LONGEST_B = 64 * 1024

Summary = Annotated[str, msgspec.Meta(max_length=160)]


class Status(StrEnum):
    """Whether an article may still break its rules."""

    WIP = "wip"
    STABLE = "stable"


class Role(StrEnum):
    """Whom a reading path is for."""

    JUNIOR = "junior"
    MID = "mid"
    SENIOR = "senior"
    MANAGER = "manager"


class Reading(StrEnum):
    """How much of an article a role needs."""

    CORE = "core"
    SKIM = "skim"
    ONE_THING = "one-thing"


class Seen(StrEnum):
    """Whether somebody of us has read the source itself or a report about it."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of the values below: frozen, strict about unknown fields."""


class Headline(Part, frozen=True, kw_only=True):
    """The measured ratio that stands for a row of the table of trade-offs: experiment, metric, and the two arms."""

    experiment: str
    metric: str
    arm: dict[str, str | int | float | bool]
    over: dict[str, str | int | float | bool]


class QuickReference(Part, frozen=True, kw_only=True):
    """A row of the table of trade-offs; without a `headline` it says why there is no honest ratio."""

    row: str
    sides: tuple[str, str]
    headline: Headline | None = None
    no_honest_ratio: str | None = None

    def __post_init__(self) -> None:
        if (self.headline is None) == (self.no_honest_ratio is None):
            # msgspec adds the path of the field and makes this its own error.
            raise ValueError("give either a `headline` or the reason under `no_honest_ratio`")


class Source(Part, frozen=True, kw_only=True):
    """Where a statement of the article can be read up."""

    title: str
    url: str
    publisher: str = ""
    date: str = ""
    seen: Seen = Seen.SECONDARY


class Setting(Part, frozen=True, kw_only=True):
    """A setting of a real system that decides this trade-off: what it means, and the loss that its manual allows."""

    name: str
    means: str
    # An experiment of the same article that measures what the setting decides.
    experiment: str
    bound: str = ""

    def sentences(self) -> str:
        """The setting as a reader is told of it."""
        bound = f" Documented bound: {self.bound.rstrip('.')}." if self.bound else ""
        return f"{self.name}: {self.means.rstrip('.')}.{bound} Try it: mastery run {self.experiment}"


class Symptom(Part, frozen=True, kw_only=True):
    """What somebody sees at night, what it means, and the experiment of the same article that shows it."""

    text: str
    means: str
    experiment: str

    def sentences(self) -> str:
        """The symptom as a reader is told of it."""
        return f"{self.text}: {self.means.rstrip('.')}. Try it: mastery run {self.experiment}"


class FrontMatter(Part, frozen=True, kw_only=True):
    """Everything that is known about an article without reading its text. `id` never changes."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{2,40}$")]
    number: str
    file: str
    slug: str
    title: str
    part: str
    summary: Summary
    minutes: Annotated[int, msgspec.Meta(ge=1, le=120)]
    status: Status
    tradeoff: str | None = None
    quick_reference: QuickReference | None = None
    audience: str | None = None
    focus: str | None = None
    aliases: tuple[str, ...] = ()
    roles: dict[Role, Reading] = {}
    requires: tuple[str, ...] = ()
    reviewed: datetime.date | None = None
    sources: tuple[Source, ...] = ()
    settings: tuple[Setting, ...] = ()
    symptoms: tuple[Symptom, ...] = ()


def identifier_of(file: str) -> str:
    """The folder of an article from its file name in the series: `03-file-io-durability.md` -> `file_io_durability`."""
    stem = file.rsplit("/", 1)[-1].removesuffix(".md")
    return re.sub(r"^\d+-", "", stem).replace("-", "_")


def split(text: str) -> tuple[str, str] | None:
    """The front matter and the body of an article's text; None where there is no front matter."""
    match = re.match(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n?(.*)\Z", text, re.DOTALL)
    return (match.group(1), match.group(2)) if match else None


def parse(text: str, *, path: Path) -> FrontMatter:
    """Reads the front matter of an article's text; raises `UsageError` with the file, the field and the remedy."""
    parts = split(text)
    if parts is None:
        raise UsageError(f"{path} has no front matter.", remedy="Begin the file with a line `---`, the fields, and a line `---`.")
    if len(parts[0].encode()) > LONGEST_B:
        raise UsageError(f"The front matter of {path} is longer than {LONGEST_B // 1024} KiB.", remedy="Shorten it.")
    try:
        fields: Any = yaml.load(parts[0], Loader=_loader())  # noqa: S506 -- both loaders it can be are the safe one
        return msgspec.convert(fields, FrontMatter)
    except yaml.MarkedYAMLError as error:
        # The mark counts from 0 and from the line after the opening dashes.
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise UsageError(f"{path}, line {line}: {error.problem}.", remedy="Mend the YAML of the front matter.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: the front matter is not YAML: {error}.", remedy="Mend the front matter.") from error
    except (msgspec.ValidationError, RecursionError) as error:
        raise UsageError(f"{path}: {error}.", remedy="Mend this field of the front matter.") from error


def _loader() -> type[yaml.SafeLoader | yaml.CSafeLoader]:
    """The safe loader written in C where PyYAML was built with it: six times as fast."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
