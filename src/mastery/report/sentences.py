"""What a run found, as sentences: verdicts, claims, references, guardrails, the rule of blocks, advice."""

import math
from collections import Counter

from mastery.lab.document import ClaimRecord, EffectRecord, ReferenceRecord, RunDocument
from mastery.report import labels, numbers
from mastery.report.plain_text import printable

STANDING = {"holds": "holds", "fails": "fails", "inconclusive": "inconclusive", "not_run": "not run"}

_MOST_LISTED = 6
# A number of blocks beyond so many times those that were run is no advice but a way to say no.
_HOPELESS = 10
_TOLD_ELSEWHERE = frozenset({"void", "interrupted"})
# A floor of more than ten times is no floor but a run that was stopped after its first blocks.
_HIGHEST_FLOOR = 10.0

HOW_TO_READ = (
    "A block runs every arm once, in random order; arms are compared within blocks.",
    "The figure in front is the median over trials; the interval covers the true one in 95 of 100 runs.",
    "The median of ratios is not the ratio of medians: a ratio is taken within each block, so it need not be that of two figures.",
    "Equivalent: the difference is too small to matter. Inconclusive: this run cannot tell, which is not the same.",
)


def headline(document: RunDocument) -> str:
    """The finding in one sentence: the largest decided effect, else how the claims stand."""
    decided = [each for each in _primary_effects(document) if each.verdict in {"better", "worse"} and each.ratio > 0]
    if decided:
        largest = max(decided, key=lambda each: abs(math.log(each.ratio)))
        arm, over = labels.difference(document, largest.arm, largest.over)
        prefix = "Indication: " if largest.indication else ""
        return f"{prefix}{printable(largest.metric)} is {numbers.times(largest.ratio)} with {arm} than with {over}"
    if _primary_effects(document):
        if all(each.withheld for each in _primary_effects(document)):
            return f"No verdict on {printable(document.primary.name)} can be given"
        equal = all(each.verdict == "equivalent" for each in _primary_effects(document))
        return (
            f"{document.primary.name} is the same in all arms" if equal else f"No difference in {document.primary.name} was settled"
        )
    worst = _worst_guardrail(document) if document.primary.role == "guardrail" and document.rule.reason != "exact" else ""
    return worst or _claims_in_short(document) or printable(document.experiment)


def _worst_guardrail(document: RunDocument) -> str:
    """For a run that counts what is lost: the worst arm, and how many arms lost nothing."""
    primary = document.primary
    records = [each for each in document.guardrails if each.metric == primary.name and each.trials]
    if not records:
        return ""
    clean = sum(each.trials_with_any == 0 for each in records)
    if clean == len(records):
        return f"No arm shows any {printable(primary.name)}"
    worst = max(records, key=lambda each: each.maximum)
    figure = numbers.quantity(worst.maximum, primary.unit)
    none = f", none in {clean} of {numbers.counted(len(records), 'arm')}" if clean else ""
    return f"{printable(primary.name)}: up to {figure} with {labels.named(document, worst.arm)}{none}"


def _claims_in_short(document: RunDocument) -> str:
    tested = [each for each in document.claims if each.standing != "not_run"]
    if not tested:
        return ""
    holding = sum(each.standing == "holds" for each in tested)
    return f"{holding} of {numbers.counted(len(tested), 'claim')} {'holds' if holding == 1 else 'hold'}"


def provenance(document: RunDocument) -> str:
    """What was run, where and when, in one line."""
    where = printable(str(document.machine.get("machine_class", "unknown machine")))
    target = f" · target {printable(document.target)}" if document.target else ""
    when = document.started[:16].replace("T", " ")
    return f"{printable(document.experiment)} · {where}{target} · {when} UTC · {document.mode} · run {printable(document.id)}"


def verdicts(document: RunDocument) -> list[str]:
    """One sentence for each effect on the primary metric, in the order of the arms."""
    return [verdict(document, effect) for effect in _primary_effects(document)]


def verdict(document: RunDocument, effect: EffectRecord) -> str:
    """What became of one arm: the direction, how much, over how many blocks, and how sure."""
    arm, over = labels.difference(document, effect.arm, effect.over)
    metric = printable(effect.metric)
    if effect.withheld:
        return f"{arm}: no verdict: {printable(effect.withheld).rstrip('.')}."
    blocks = numbers.counted(effect.blocks, "block")
    spread = ""
    if effect.low is not None and effect.high is not None:
        spread = f" ({numbers.times_span(effect.ratio, effect.low, effect.high)}, {blocks})"
    said = f"{metric} is {numbers.times(effect.ratio)} than with {over}{spread}"
    match effect.verdict:
        case "equivalent":
            return f"{arm} is equivalent: {metric} differs by less than {_smallest(document)} from {over} ({blocks})."
        case "inconclusive" | None:
            more = f" {_more_blocks(document, effect.blocks_needed)}" if effect.blocks_needed else ""
            return f"{arm} is inconclusive: {said}.{more}"
        case word:
            lead = f"{arm} is {word}{' (an indication)' if effect.indication else ''}"
            small = "" if effect.relevant else f" Whether it is more than {_smallest(document)} is not settled."
            return f"{lead}: {said}.{small}"


def _smallest(document: RunDocument) -> str:
    smallest = document.declaration.get("smallest_effect", 0.1)
    return numbers.share(float(smallest)) if isinstance(smallest, int | float) else "the smallest effect that matters"


def claim(record: ClaimRecord) -> str:
    """A claim's text; its standing is a word of its own beside it."""
    return printable(record.text or record.id)


def claim_measured(record: ClaimRecord) -> str:
    """What was measured for a claim: `measured 5.2 (4.8 to 5.9); over 24 blocks`."""
    details = []
    if record.value is not None:
        details.append(f"measured {_with_ends(record.value, record.low, record.high)}")
    if record.why:
        details.append(printable(record.why).rstrip("."))
    return "; ".join(details)


def _with_ends(value: float, low: float | None, high: float | None) -> str:
    """Without an interval where there is none: the worst of all trials is one number."""
    if low is None or high is None or low == high:
        return numbers.significant(value)
    return f"{numbers.significant(value)} ({numbers.significant(low)} to {numbers.significant(high)})"


def reference(document: RunDocument, record: ReferenceRecord) -> str:
    """How an independent tool's figure stands to ours."""
    tool = printable(record.tool)
    unit = document.metric(record.metric).unit
    if record.ours is None or record.theirs is None or record.ratio is None:
        return f"{tool}: not compared: {printable(record.why) or 'it gave no figure'}"
    figures = f"ours {numbers.quantity(record.ours, unit)}, theirs {numbers.quantity(record.theirs, unit)}"
    pair = numbers.ratio_with_span(record.ratio, record.low, record.high)
    blocks = numbers.counted(record.blocks, "block")
    word = {True: "agrees", False: "disagrees", None: "is inconclusive"}[record.agrees]
    why = f"; {printable(record.why).removesuffix(': reference inconclusive')}" if record.why else ""
    return f"{tool} {word}: {figures}, ratio {pair}, within {record.within:g} wanted, {blocks}{why}"


def rule(document: RunDocument) -> str:
    """How many blocks were run and why that number."""
    fixed = document.rule
    if fixed.reason == "exact":
        return "Counted exactly: no repetition, no interval."
    blocks = numbers.counted(fixed.blocks, "block")
    pilot = f" after a pilot of {fixed.pilot}" if fixed.pilot else ""
    why = {
        "precision": f"fixed by the wanted precision{pilot}",
        "budget": f"fixed by the budget of {numbers.seconds(fixed.budget_s)}{pilot}",
        "minimum": f"the least that allows an interval{pilot}",
    }[fixed.reason]
    wanted = f" ({_wanted(document, fixed.wanted)})" if fixed.reason == "budget" and fixed.wanted else ""
    return f"{blocks}, {why}{wanted}, before anything was judged."


def _wanted(document: RunDocument, wanted: int) -> str:
    if wanted > _HOPELESS * document.rule.blocks:
        return "this machine is too noisy for the precision that was wanted"
    return f"precision asked for {wanted:,}, {_time_of(document, wanted)}"


def _more_blocks(document: RunDocument, needed: int) -> str:
    """What would settle an effect, with what it would cost; no number that nobody would ever run."""
    if needed > _HOPELESS * document.rule.blocks:
        return "This machine is too noisy to settle it."
    return f"About {numbers.counted(needed, 'more block')} would settle it, {_time_of(document, needed)}."


def _time_of(document: RunDocument, blocks: int) -> str:
    """How long so many blocks take here: a block runs every slot once, and a trial lasts longer than its load."""
    judged = [trial for trial in document.trials if not (trial.cold or trial.ramp)]
    slots = {(trial.arm, trial.placebo, trial.reference) for trial in judged}
    if not judged:
        return "a time that is not known"
    per_trial = sum(max(trial.seconds, document.rule.seconds_per_trial) for trial in judged) / len(judged)
    return f"about {numbers.seconds(blocks * len(slots) * per_trial)}"


def voids(document: RunDocument) -> list[str]:
    """How many trials were void, which share of each arm's, and the most frequent cause: voids are informative."""
    void = [trial for trial in document.trials if trial.status == "void"]
    if not void:
        return []
    causes = Counter(printable(trial.cause or "unknown cause") for trial in void)
    cause, _ = causes.most_common(1)[0]
    judged = [trial for trial in document.trials if trial.reference is None and not (trial.cold or trial.ramp)]
    lost = Counter(trial.arm for trial in judged if trial.status == "void")
    every = Counter(trial.arm for trial in judged)
    shares = [
        f"{labels.named(document, arm)} {count} of {every[arm]} ({numbers.share(count / every[arm])})"
        for arm, count in lost.most_common(_MOST_LISTED)
    ]
    where = f" By arm: {', '.join(shares)}{_rest(document, len(lost))}." if shares else ""
    return [f"{numbers.counted(len(void), 'trial')} of {len(document.trials):,} void: {cause.rstrip('.')}.{where}"]


def _rest(document: RunDocument, with_any: int) -> str:
    """What the arms that were not named lost."""
    listed = min(with_any, _MOST_LISTED)
    others = sum(arm.skipped is None for arm in document.arms) - listed
    if not others:
        return ""
    return f"; {'at most as many' if with_any > listed else 'none'} in the other {numbers.counted(others, 'arm')}"


def cold(document: RunDocument) -> list[str]:
    """The first trial beside the median of its arm: it met cold caches and is judged nowhere."""
    for trial in document.trials:
        figures = [trial.metrics.get(name) for name in ("p50", document.primary.name)]
        for name, figure in zip(("p50", document.primary.name), figures, strict=True):
            estimate = document.estimate(trial.arm, name)
            if not trial.cold or trial.status != "ok" or figure is None or estimate is None or estimate.withheld:
                continue
            unit = document.metric(name).unit
            return [
                f"The first trial, cold and judged nowhere: {printable(name)} {numbers.quantity(figure, unit)} with "
                f"{labels.named(document, trial.arm)}, against {numbers.quantity(estimate.value, unit)} afterwards."
            ]
    return []


def skipped(document: RunDocument) -> list[str]:
    """Arms that were not run, each reason once, with the remedy."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for arm in document.arms:
        if arm.skipped:
            reasons.setdefault((arm.skipped, arm.remedy or ""), []).append(labels.short(document, arm))
    found = []
    for (reason, remedy), arms in reasons.items():
        named = ", ".join(arms[:3]) + (f" and {len(arms) - 3} more" if len(arms) > 3 else "")
        ending = f" To run it: {printable(remedy)}" if remedy else ""
        found.append(f"Not run: {named}: {printable(reason).rstrip('.')}.{ending}")
    return found


def noise(document: RunDocument) -> list[str]:
    """The floor below which no effect of this run is claimed."""
    floor = noise_floor(document)
    if floor is None:
        has_one = isinstance(document.noise.get("floor"), int | float)
        return ["Noise floor: too few blocks to know how far two equal arms differ here."] if has_one else []
    return [f"Noise floor: two equal arms differ by up to {numbers.share(floor)} in this run; nothing below is claimed."]


def noise_floor(document: RunDocument) -> float | None:
    """The floor as a share; None where the run has none, or so few blocks that it says nothing."""
    floor = document.noise.get("floor")
    return float(floor) if isinstance(floor, int | float) and 0 < floor <= _HIGHEST_FLOOR else None


def advice(document: RunDocument) -> list[str]:
    """Each piece of advice with its remedy, but for what has a sentence of its own here."""
    told = [each for each in document.advice if each.code not in _TOLD_ELSEWHERE]
    return [f"{printable(each.text)} {printable(each.remedy)}".strip() for each in told]


def stopped(document: RunDocument) -> list[str]:
    """Why the run ended early, where it did."""
    match document.stopped:
        case "interrupted":
            return ["The run was interrupted: what had finished is judged, with the blocks that are whole."]
        # Where the budget fixed the number of blocks, the rule says so already.
        case "budget" if document.rule.reason != "budget":
            return ["The budget was used up before all planned blocks were run."]
        case _:
            return []


def orders(document: RunDocument) -> list[str]:
    """How many orders were tried of how many there are: absence of an anomaly is no proof beyond them."""
    noun = "orders" if document.rule.reason == "exact" else "possible outcomes"
    complete = [counts for counts in document.orders_tried.values() if len(counts) == 2 and counts[0] >= counts[1]]
    if len(complete) > _MOST_LISTED:
        # A grid of many cells: those tried completely share one sentence, the sampled ones are named.
        total = sum(counts[1] for counts in complete)
        sampled = {name: counts for name, counts in document.orders_tried.items() if counts not in complete}
        shared = f"All {_orders_counted(total)} {noun} tried in {numbers.counted(len(complete), 'arm')}."
        return [shared, *_orders(sampled, noun)]
    return _orders(document.orders_tried, noun)


def _orders_counted(number: float) -> str:
    """A number with its thousands, or its power of ten where nobody would read the digits."""
    return f"{number:,.0f}" if number < 1e12 else f"about 10^{math.log10(number):.0f}"


def _orders(tried: dict[str, list[int | float]], noun: str) -> list[str]:
    found = []
    for name, counts in tried.items():
        if len(counts) == 2:
            how = "" if counts[0] >= counts[1] else ", a seeded sample"
            found.append(f"{printable(name)}: {_orders_counted(counts[0])} of {_orders_counted(counts[1])} {noun} tried{how}")
    return found


def frontier(document: RunDocument) -> list[str]:
    """Which arms no other arm beats on every metric, and how often resampling says so."""
    edge = document.frontier
    if edge is None or not edge.arms or len(edge.arms) == len(document.arms) == 1:
        return []
    metrics = printable(" and ".join(edge.metrics))
    named = [f"{labels.named(document, arm)} ({numbers.share(edge.share.get(str(arm), 1.0))})" for arm in edge.arms]
    return [f"Not beaten on {metrics}: {', '.join(named)}; the share is how often resampling keeps it there."]


def _primary_effects(document: RunDocument) -> list[EffectRecord]:
    primary = document.primary.name
    return [each for each in document.effects if each.metric == primary and (each.verdict or each.withheld)]
