"""The run document, schema `mastery.run/1`: what one run did and found, immutable and content-hashed.

Trials are rows until the run closes; then the document is built, serialised canonically (RFC 8785), hashed without
its `hash`, and never changed. The published JSON Schema is generated from these types.
"""

import hashlib
import math
from typing import Annotated, Any, Literal

import msgspec
import rfc8785

from mastery.errors import HostileImport
from mastery.lab.integrity import canonical_text, is_intact

SCHEMA = "mastery.run/1"

Level = str | int | float | bool
NonNegative = Annotated[int, msgspec.Meta(ge=0)]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every part of the document: frozen, strict about unknown fields."""


class ArmRecord(Record, frozen=True, kw_only=True):
    """One arm; `skipped` says why it was not run, `remedy` what would let it run."""

    index: NonNegative
    levels: dict[str, Level]
    label: str
    baseline: bool = False
    skipped: str | None = None
    remedy: str | None = None


class TrialRecord(Record, frozen=True, kw_only=True):
    """One trial: the unit of replication. `placebo` marks the second baseline of the A/A check, `cold` the first trial."""

    block: NonNegative
    arm: NonNegative
    status: Literal["ok", "void"]
    cause: str | None = None
    placebo: bool = False
    cold: bool = False
    # A trial of the ramp that looks for capacity; like the cold one it is judged nowhere.
    ramp: bool = False
    # The id of the reference tool that measured this arm; None where we measured it ourselves.
    reference: str | None = None
    started_s: float = 0.0
    seconds: float = 0.0
    # offered, achieved and completed rates (op/s), lag (s), outcomes by kind, folding time (s), loop
    load: dict[str, float | str] = {}
    metrics: dict[str, float] = {}
    # share of CPU time stolen by the hypervisor, 0 to 1
    steal: float = 0.0
    switches: dict[str, int] = {}
    # what else disturbed the trial from outside: throttling, page faults, waiting for a resource
    disturbance: dict[str, float] = {}
    counters: dict[str, float] = {}
    notes: dict[str, Any] = {}


class Estimate(Record, frozen=True, kw_only=True):
    """Median over trials with its rank interval; a pooled percentile with its interval from resampled blocks."""

    arm: NonNegative
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    trials: NonNegative = 0
    withheld: str | None = None
    # Where the next run's value is expected to lie; what `decide` asks.
    next_low: float | None = None
    next_high: float | None = None


class GuardrailRecord(Record, frozen=True, kw_only=True):
    """A guardrail is judged by its worst trial and by a bound on how often it may still happen."""

    arm: NonNegative
    metric: str
    trials: NonNegative
    trials_with_any: NonNegative
    maximum: float
    minimum: float
    total: float
    # one-sided 95 % upper bound on the share of trials with any
    share_at_most: float


class EffectRecord(Record, frozen=True, kw_only=True):
    """The ratio of one arm to another within blocks, with interval and, for the primary metric, a verdict."""

    arm: NonNegative
    metric: str
    over: NonNegative
    ratio: float
    low: float | None = None
    high: float | None = None
    blocks: NonNegative = 0
    adjusted: bool = False
    verdict: Literal["better", "worse", "equivalent", "inconclusive"] | None = None
    relevant: bool = False
    # An indication is a verdict of quick mode: unadjusted, on few blocks.
    indication: bool = False
    withheld: str | None = None
    blocks_needed: int | None = None


class ClaimRecord(Record, frozen=True, kw_only=True):
    """A claim and how it stands in this run."""

    id: str
    text: str
    standing: Literal["holds", "fails", "inconclusive", "not_run"]
    because: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


class CitedRecord(Record, frozen=True, kw_only=True):
    """A statement with its source, not measured in this run."""

    id: str
    text: str
    source: str
    url: str
    version: str


class ReferenceRecord(Record, frozen=True, kw_only=True):
    """Our figure beside an independent tool's, paired within blocks."""

    id: str
    tool: str
    arm: NonNegative
    metric: str
    blocks: NonNegative = 0
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    within: float = 1.0
    # None: inconclusive or absent; `why` says which
    agrees: bool | None = None
    why: str = ""


class FrontierRecord(Record, frozen=True, kw_only=True):
    """Which arms no other arm dominates on these metrics; `share` is how often resampling keeps each on the frontier."""

    metrics: list[str]
    arms: list[int]
    share: dict[str, float]


class AdviceRecord(Record, frozen=True, kw_only=True):
    """Something about this run that the reader should know, and what mends it."""

    code: str
    text: str
    remedy: str = ""


class PredictionRecord(Record, frozen=True, kw_only=True):
    """What the reader committed to before the run, when, and how it was scored."""

    kind: Literal["made", "skipped"]
    sealed: str = ""
    event: str = ""
    answers: dict[str, Any] = {}
    score: dict[str, Any] = {}


class FactorRecord(Record, frozen=True, kw_only=True):
    name: str
    levels: list[Level]
    baseline: Level
    unit: str = ""
    meaning: str = ""


class MetricRecord(Record, frozen=True, kw_only=True):
    name: str
    unit: str
    better: Literal["lower", "higher"]
    role: Literal["response", "cost", "guardrail"]
    primary: bool = False
    meaning: str = ""


class ComponentRecord(Record, frozen=True, kw_only=True):
    """A component as it was in this run: never with a user, host or password."""

    name: str
    how: str
    version: str = ""
    configuration: dict[str, str] = {}


class RuleRecord(Record, frozen=True, kw_only=True):
    """How many blocks were run and why that number: fixed before anything was judged."""

    blocks: NonNegative
    reason: Literal["precision", "budget", "minimum", "exact"]
    wanted: int | None = None
    pilot: NonNegative = 0
    seconds_per_trial: float = 0.0
    budget_s: float = 0.0
    # op/s that the ramp found for each arm whose load is a share of capacity
    capacity: dict[str, float] = {}


class RunDocument(Record, frozen=True, kw_only=True):
    """One run, whole."""

    schema: str
    id: str
    hash: str
    experiment: str
    article: str
    question: str
    declaration: dict[str, Any]
    rule: RuleRecord
    mode: Literal["quick", "normal", "rigorous"]
    seed: NonNegative
    target: str | None
    started: str
    finished: str
    package: str
    machine: dict[str, Any]
    noise: dict[str, Any]
    components: list[ComponentRecord]
    factors: list[FactorRecord]
    metrics: list[MetricRecord]
    arms: list[ArmRecord]
    prediction: PredictionRecord
    trials: list[TrialRecord]
    estimates: list[Estimate]
    guardrails: list[GuardrailRecord]
    effects: list[EffectRecord]
    claims: list[ClaimRecord]
    cited: list[CitedRecord]
    references: list[ReferenceRecord]
    frontier: FrontierRecord | None
    advice: list[AdviceRecord]
    # arm label -> orders tried and orders there are; the second may be beyond any whole number of JSON
    orders_tried: dict[str, list[int | float]]
    # arm index -> sparse HDR histogram of nanoseconds, pooled over the arm's trials
    histograms: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]
    stopped: Literal["planned", "budget", "interrupted"]

    def arm(self, index: int) -> ArmRecord:
        return next(arm for arm in self.arms if arm.index == index)

    def metric(self, name: str) -> MetricRecord:
        return next(metric for metric in self.metrics if metric.name == name)

    @property
    def primary(self) -> MetricRecord:
        named = [metric for metric in self.metrics if metric.primary]
        responses = [metric for metric in self.metrics if metric.role == "response"]
        return (named or responses or self.metrics)[0]

    @property
    def baseline(self) -> ArmRecord:
        return next(arm for arm in self.arms if arm.baseline)

    def estimate(self, arm: int, metric: str) -> Estimate | None:
        return next((each for each in self.estimates if each.arm == arm and each.metric == metric), None)

    def effect(self, arm: int, metric: str) -> EffectRecord | None:
        return next((each for each in self.effects if each.arm == arm and each.metric == metric), None)

    def guardrail(self, arm: int, metric: str) -> GuardrailRecord | None:
        return next((each for each in self.guardrails if each.arm == arm and each.metric == metric), None)


# Up to here a whole number is exact in every reader of JSON; RFC 8785 has no form for larger ones.
SAFE_INTEGER = 2**53 - 1


def plain(value: Any) -> Any:
    """Builtins only, fit for canonical JSON (RFC 8785): whole numbers beyond 2^53 become doubles.

    JSON has no infinity and no undefined number: an unbounded figure is left out, so one that gets here is a mistake
    and raises `ValueError`.
    """
    if isinstance(value, int) and abs(value) > SAFE_INTEGER:
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a run document holds no infinite or undefined number")
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def canonical(document: RunDocument) -> bytes:
    """The document as RFC 8785 JSON: the same bytes wherever it is written."""
    return rfc8785.dumps(plain(msgspec.to_builtins(document)))


def content_hash(document: RunDocument) -> str:
    """SHA-256 over the canonical document without its `hash`."""
    body = plain(msgspec.to_builtins(document))
    del body["hash"]
    return "sha256:" + hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def sealed(document: RunDocument) -> RunDocument:
    """The document with its hash filled in."""
    return msgspec.structs.replace(document, hash=content_hash(document))


def decode(text: bytes) -> RunDocument:
    """Reads a document strictly and recomputes its hash. Integrity, not origin: anyone can compute a hash.

    Raises `HostileImport` for anything that is not a `mastery.run/1` document with a matching hash.
    """
    try:
        document = msgspec.json.decode(text, type=RunDocument)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HostileImport(f"This is not a run document: {error}.", remedy="Export it again with `mastery export`.") from error
    if document.schema != SCHEMA:
        raise HostileImport(
            f"The run document has the schema {document.schema!r}; this version reads {SCHEMA!r}.",
            remedy="Use the version of Mastery that wrote it, or a newer one.",
        )
    # On the text and not on what we understand of it: an older run lacks the fields that a later version has.
    if not is_intact(text, document.hash) and not is_intact(canonical_text(msgspec.json.decode(text)), document.hash):
        raise HostileImport(
            f"Run {document.id!r} does not match its hash: it was changed after it was closed.",
            remedy="Ask for the file as `mastery export` wrote it.",
        )
    return document


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document, generated from the types above."""
    schema: dict[str, Any] = msgspec.json.schema(RunDocument)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}
