"""The order in which a run is told, the same on the terminal, in Markdown and on a page: sections of finished sentences."""

from dataclasses import dataclass

from mastery.lab.document import RunDocument
from mastery.report import labels, numbers, sentences
from mastery.report.driving import driving
from mastery.report.guardrails import guardrails
from mastery.report.occurrences import occurrences
from mastery.report.plain_text import printable
from mastery.report.prediction import scored

_MOST_GUARDRAILS = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence; `word` is the short answer in front of it (holds, fails), `detail` its figure, `note` what explains it."""

    text: str
    word: str = ""
    detail: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its sentences."""

    heading: str
    lines: tuple[Line, ...]


def telling(document: RunDocument) -> list[Section]:
    """Everything that is said about a run beside its table and plot; empty sections are left out."""
    sections = [
        Section("Verdicts", _plain(sentences.verdicts(document))),
        Section("Guardrails", _plain(_guardrails(document))),
        Section("Tried", _plain(sentences.orders(document))),
        Section("Claims", tuple(_claims(document))),
        Section("Cited, not measured here", tuple(_cited(document))),
        Section("Checked against", _plain([sentences.reference(document, each) for each in document.references])),
        Section("How it was driven", _plain([*driving(document), *occurrences(document), *sentences.cold(document)])),
        Section("Your prediction", _plain(prediction(document))),
        Section("How far to trust it", _plain(_trust(document))),
    ]
    return [section for section in sections if section.lines]


def setting(document: RunDocument) -> list[tuple[str, str]]:
    """What the figures hold for: the factors held fixed, the components, the machine, the seed."""
    rows = [("held fixed", labels.fixed(document))]
    for component in document.components:
        details = ", ".join(f"{key} {value}" for key, value in component.configuration.items())
        version = f" {component.version}" if component.version else ""
        rows.append((component.name, f"{component.how}{version}{', ' if details else ''}{details}"))
    rows += [
        ("machine", str(document.machine.get("machine_class", ""))),
        ("seed", str(document.seed)),
        ("started", document.started),
        ("finished", document.finished),
        ("version", document.package),
        ("run", document.id),
        ("hash", document.hash),
    ]
    return [(printable(name), printable(value)) for name, value in rows if value]


def prediction(document: RunDocument) -> list[str]:
    """What the reader expected and how it turned out."""
    score = scored(document)
    return [score.sentence] if score else []


def _guardrails(document: RunDocument) -> list[str]:
    """At most the dozen worst, for a grid of many arms would drown the rest."""
    if document.rule.reason == "exact":
        return []
    told = guardrails(document)
    rest = len(told) - _MOST_GUARDRAILS
    return [*told[:_MOST_GUARDRAILS], f"{numbers.counted(rest, 'more arm')} in the table."] if rest > 0 else told


def _claims(document: RunDocument) -> list[Line]:
    return [
        Line(sentences.claim(each), sentences.STANDING[each.standing], sentences.claim_measured(each), printable(each.because))
        for each in document.claims
    ]


def _cited(document: RunDocument) -> list[Line]:
    return [
        # What it holds for and who says so belong to the statement: without them it would pass for our own.
        Line(printable(f"{each.version}: {each.text}"), "cited", printable(each.source), printable(each.url))
        for each in document.cited
    ]


def _trust(document: RunDocument) -> list[str]:
    adjusted = any(each.adjusted for each in document.effects)
    note = ["Verdicts are adjusted for the number of arms; the other intervals are not."] if adjusted else []
    return [
        *sentences.stopped(document),
        sentences.rule(document),
        *note,
        *sentences.noise(document),
        *sentences.frontier(document),
        *sentences.voids(document),
        *sentences.skipped(document),
        *sentences.advice(document),
    ]


def _plain(texts: list[str]) -> tuple[Line, ...]:
    return tuple(Line(text) for text in texts)
