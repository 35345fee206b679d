"""Cites a run: one sentence, BibTeX, and a bundle from which a stranger recomputes the figures without our program."""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from mastery.errors import DomainError
from mastery.lab.document import RunDocument, canonical
from mastery.report.numbers import counted
from mastery.report.sourced import Provenance, SourcedRun, machine_class, source_hash

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Citation:
    """How to name a run in a text, and as a BibTeX entry."""

    sentence: str
    bibtex: str


def cite(run: SourcedRun) -> Citation:
    """The citation of a run: what was done, how intervals were made, where, with what, when, and its hash."""
    document = run.document
    facts = [_method(document), machine_class(document), *_versions(document), document.hash]
    whose = "" if run.provenance is Provenance.OWN else f" ({run.provenance})"
    day = document.started[:10]
    sentence = f"{document.experiment}, run {document.id}{whose}, {day}: {'; '.join(facts)}."
    title = _one_line(f"{document.experiment}: {document.question}")
    fields = {
        "title": f"{{{_latex(title)}}}",
        "howpublished": f"Measured with Backend Engineering Mastery {_latex(document.package)}",
        "year": day[:4],
        "month": day[5:7],
        "note": _latex(f"Run {document.id}{whose}; {'; '.join(facts)}"),
    }
    body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    key = re.sub(r"[^A-Za-z0-9-]", "-", f"mastery-{document.id}")
    return Citation(_one_line(sentence), f"@misc{{{key},\n{body}}}\n")


def _method(document: RunDocument) -> str:
    arms = [arm for arm in document.arms if arm.skipped is None]
    over = f"{counted(len(arms), 'arm')}"
    if document.rule.reason == "exact":
        return f"exact counts, {over}, no interval"
    adjusted = any(effect.adjusted for effect in document.effects)
    holm = f", Holm-adjusted over the arms for {document.primary.name}" if adjusted else ", unadjusted"
    stopped = ", stopped before its planned end" if document.stopped == "interrupted" else ""
    label = f"{document.mode} mode" + (" (an indication)" if document.mode == "quick" else "")
    return (
        f"{counted(document.rule.blocks, 'randomised complete block')} of {over}, {label}{stopped}; medians with rank intervals, "
        f"percentiles of pooled samples with intervals from resampled blocks, ratios within blocks (Hodges-Lehmann) with exact "
        f"signed-rank intervals, all at 95 %{holm}"
    )


def _versions(document: RunDocument) -> list[str]:
    components = [" ".join(part for part in (each.name, each.version, f"({each.how})") if part) for each in document.components]
    return [*components, f"Backend Engineering Mastery {document.package}"]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def bundle(run: SourcedRun, *, source: bytes | None, lock: bytes, text: bytes | None = None) -> dict[str, bytes]:
    """Files by name: the run, a script that recomputes it, the experiment's text, the lock, the citation.

    `source` is the experiment's file, None where it is not at hand (a stranger's run). Raises `DomainError` when it is
    not the text that was run. `text` is the stored canonical text, which an older version may have written.
    """
    document = run.document
    if source is not None and hashlib.sha256(source).hexdigest() != source_hash(document):
        raise DomainError(
            f"The experiment {document.experiment} was changed since run {document.id} of {document.started[:10]}.",
            remedy=f"Take the file as it was in Mastery {document.package}, or run it anew: mastery run {document.experiment}",
        )
    citation = cite(run)
    files = {
        "run.json": canonical(document) if text is None else text,
        "recompute.py": resources.files("mastery.report").joinpath("recompute.py").read_bytes(),
        "requirements.lock": lock,
        "citation.bib": citation.bibtex.encode(),
        "README.txt": _readme(citation, has_source=source is not None).encode(),
    }
    return files if source is None else {**files, "experiment.py": source}


def _readme(citation: Citation, *, has_source: bool) -> str:
    experiment = "experiment.py     the experiment as it was run\n" if has_source else ""
    return (
        f"{citation.sentence}\n\n"
        "    python3 recompute.py\n\n"
        "checks the content hash and recomputes the figures from the raw trials, with nothing but Python.\n\n"
        f"run.json          the run: declaration, machine, raw trials, figures\n{experiment}"
        "requirements.lock the libraries it ran with\n"
        "citation.bib      for BibTeX\n"
    )
