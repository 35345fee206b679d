"""Guardrails as sentences: the worst trial of each arm that showed any, and one sentence for all that showed none."""

from collections.abc import Sequence

from mastery.lab.document import GuardrailRecord, RunDocument
from mastery.report import labels, numbers
from mastery.report.plain_text import printable


def guardrails(document: RunDocument) -> list[str]:
    """Those that were violated first; the absences share a sentence, modelled arms have one of their own."""
    measured = [each for each in document.guardrails if each.trials and not labels.is_modelled(document, each.arm)]
    modelled = [each for each in document.guardrails if each.trials and labels.is_modelled(document, each.arm)]
    told = [guardrail(document, each) for each in [*measured, *modelled] if each.trials_with_any]
    told += _none_seen(document, measured)
    clean = [each for each in modelled if not each.trials_with_any]
    if clean:
        # What was worked out is no sample: nothing follows for how often it may happen.
        told.append(f"{_capital(_clauses(document, clean))}: no state that was modelled shows any.")
    return told


def guardrail(document: RunDocument, record: GuardrailRecord) -> str:
    """A guardrail that was violated, by its worst trial."""
    metric = document.metric(record.metric)
    arm = labels.named(document, record.arm)
    worst = numbers.quantity(record.minimum if metric.better == "higher" else record.maximum, metric.unit)
    if labels.is_modelled(document, record.arm):
        return f"{arm}: {printable(record.metric)}, {worst} in the worst state: a possibility, no frequency."
    trials = numbers.counted(record.trials, "trial")
    return f"{arm}: {printable(record.metric)} in {record.trials_with_any:,} of {trials}, at worst {worst}."


def _none_seen(document: RunDocument, measured: Sequence[GuardrailRecord]) -> list[str]:
    clean = [each for each in measured if not each.trials_with_any]
    if not clean:
        return []
    fewest, most = min(each.trials for each in clean), max(each.trials for each in clean)
    trials = numbers.counted(most, "trial") if fewest == most else f"{fewest:,} to {most:,} trials"
    each = " each" if len({record.arm for record in clean}) > 1 else ""
    allowed = numbers.share(max(record.share_at_most for record in clean))
    return [f"{_capital(_clauses(document, clean))}, {trials}{each}; up to {allowed} of trials could still show some."]


def _clauses(document: RunDocument, clean: Sequence[GuardrailRecord]) -> str:
    """`no lost in the other 7 arms, no torn in all 12 arms`: by metric, each arm named only where it stands alone."""
    said = []
    for metric in dict.fromkeys(each.metric for each in clean):
        arms = [each.arm for each in clean if each.metric == metric]
        is_model = labels.is_modelled(document, arms[0])
        alike = [each for each in document.guardrails if each.trials and labels.is_modelled(document, each.arm) is is_model]
        violated = any(each.metric == metric and each.trials_with_any for each in alike)
        # Said only where a run has both kinds, which must not be taken for each other.
        kind = ("modelled " if is_model else "measured ") if len(alike) < len(document.guardrails) else ""
        if len(arms) == 1:
            where = labels.named(document, arms[0])
        elif violated:
            where = f"the other {len(arms)} {kind}arms"
        else:
            where = f"both {kind}arms" if len(arms) == 2 else f"all {len(arms)} {kind}arms"
        said.append(f"no {printable(metric)} in {where}")
    return ", ".join(said)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
