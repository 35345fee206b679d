"""The ledger of claims: how every sentence of the articles stands on this machine, its history, and what is only cited."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mastery.lab.document import CitedRecord, ClaimRecord, RunDocument
from mastery.report.sourced import Provenance, SourcedRun, fingerprint, machine_class

NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a claim stood in one run; `is_here` says that the run is the reader's own, of this machine."""

    run: str
    started: str
    mode: str
    machine: str
    provenance: Provenance
    is_here: bool
    claim: ClaimRecord


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One claim. `newest` is its newest standing on this machine, None when it was never tried here as it is worded now.

    `history` holds every standing, the newest first: also of other machines and of earlier wordings.
    """

    experiment: str
    article: str
    id: str
    text: str
    newest: Standing | None
    history: tuple[Standing, ...]

    @property
    def reworded(self) -> tuple[Standing, ...]:
        """Standings of another wording (another threshold, say): they confirm or refute a different sentence."""
        return tuple(each for each in self.history if each.claim.text != self.text)

    @property
    def changed(self) -> bool:
        """Whether the claim has both held and failed on this machine as it is worded now."""
        seen = {each.claim.standing for each in self.history if each.is_here and each.claim.text == self.text}
        return {"holds", "fails"} <= seen


@dataclass(frozen=True, slots=True)
class CitedEntry:
    """A statement with its source and version, not measured by us; from the newest run that carries it."""

    experiment: str
    article: str
    cited: CitedRecord


@dataclass(frozen=True, slots=True)
class Ledger:
    """All claims in the order of experiment and declaration, and all cited statements."""

    entries: tuple[LedgerEntry, ...]
    cited: tuple[CitedEntry, ...]


@dataclass(slots=True)
class _Gathered:
    """What one experiment's runs said so far."""

    newest: RunDocument
    is_own: bool
    standings: dict[str, list[Standing]] = field(default_factory=dict)


def claims_ledger(runs: Iterable[SourcedRun], *, here: str) -> Ledger:
    """The ledger over all runs, in any order; each is looked at once and let go. `here` is this machine's fingerprint."""
    gathered: dict[str, _Gathered] = {}
    for run in runs:
        document = run.document
        is_own = run.provenance is Provenance.OWN
        known = gathered.setdefault(document.experiment, _Gathered(document, is_own))
        if (is_own, document.started) > (known.is_own, known.newest.started):
            known.newest, known.is_own = document, is_own
        for claim in document.claims:
            known.standings.setdefault(claim.id, []).append(_standing(run, claim, here))
    experiments = sorted(gathered.items(), key=lambda item: (item[1].newest.article, item[0]))
    return Ledger(
        entries=tuple(entry for _, known in experiments for entry in _entries(known)),
        cited=tuple(
            CitedEntry(known.newest.experiment, known.newest.article, cited)
            for _, known in experiments
            for cited in known.newest.cited
        ),
    )


def _standing(run: SourcedRun, claim: ClaimRecord, here: str) -> Standing:
    document = run.document
    return Standing(
        run=document.id,
        started=document.started,
        mode=document.mode,
        machine=machine_class(document),
        provenance=run.provenance,
        is_here=run.provenance is Provenance.OWN and fingerprint(document) == here != "",
        claim=claim,
    )


def _entries(known: _Gathered) -> Iterable[LedgerEntry]:
    declared = [claim.id for claim in known.newest.claims]
    # Claims that the newest run no longer declares come last: they were withdrawn, and their history stays.
    for id in [*declared, *sorted(known.standings.keys() - set(declared))]:
        history = sorted(known.standings[id], key=lambda each: (each.started, each.run), reverse=True)
        # What a stranger's run says does not reword our claim.
        text = next((each for each in history if each.provenance is Provenance.OWN), history[0]).claim.text
        here = [each for each in history if each.is_here and each.claim.text == text]
        # A run that left the claim's arms out does not take back what an earlier one showed.
        tried = [each for each in here if each.claim.standing != NOT_RUN]
        newest = next(iter([*tried, *here]), None)
        yield LedgerEntry(known.newest.experiment, known.newest.article, id, text, newest, tuple(history))
