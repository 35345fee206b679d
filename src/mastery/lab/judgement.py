"""The judging of a finished run: logarithms of one metric in, effects with intervals and verdicts out."""

import math
from dataclasses import dataclass, replace

import numpy as np

from mastery.lab.distributions import normal_quantile
from mastery.lab.floor import NoiseFloor, noise_floor
from mastery.lab.planning import RISK, Mode
from mastery.lab.signed_rank import Floats, Interval, SignedRank, blocks_for
from mastery.lab.verdict import Adjusted, Band, LogEffect, Reason, Verdict, holm, rule


@dataclass(frozen=True, slots=True)
class Effect:
    """One arm against the baseline, as ratios arm / baseline paired within blocks.

    `interval` is the one that the verdict rests on, at the level that it states: adjusted over `family` arms, or plain
    where family is 1. `plain` is always the unadjusted 95 % one. `equivalence` is the one that must fit the band.
    Intervals are None where there are too few blocks for their level, `ratio` where nothing could be paired.
    """

    arm: int
    blocks: int
    ratio: float | None
    interval: Interval | None
    plain: Interval | None
    equivalence: Interval | None
    p_value: float  # adjusted over the family
    equivalence_p: float  # adjusted over the family
    family: int
    verdict: Verdict
    relevant: bool
    reason: Reason
    blocks_needed: int | None  # about so many more would settle it; only where it is inconclusive and more blocks can help


@dataclass(frozen=True, slots=True)
class Judgement:
    """The effects of all arms but the baseline, in the arms' order; the twin's stays outside the family and is a check."""

    effects: tuple[Effect, ...]
    floor: NoiseFloor
    mode: Mode
    baseline: int
    twin: int | None

    @property
    def is_indication(self) -> bool:
        """Quick runs indicate: their effects are not adjusted for the number of arms."""
        return self.mode is Mode.QUICK

    def effect_of(self, arm: int) -> Effect:
        """The effect of one arm; the baseline has none."""
        return next(effect for effect in self.effects if effect.arm == arm)


@dataclass(frozen=True, slots=True)
class _Paired:
    """The paired log ratios of one arm before the verdict; `ranks` is None when nothing could be paired."""

    arm: int
    ranks: SignedRank | None
    blocks: int
    no_ratio: bool

    def difference_p(self) -> float:
        return 1.0 if self.ranks is None else self.ranks.p_value()

    def equivalence_p(self, band: Band) -> float:
        return 1.0 if self.ranks is None else self.ranks.equivalence_p(band.margin)


def judge(
    log_values: Floats,
    *,
    baseline: int,
    smallest_effect: float,
    better: str,
    mode: Mode,
    twin: int | None = None,
) -> Judgement:
    """Judges one metric; `log_values` holds natural logarithms, block x arm, NaN for a missing trial.

    `twin` is the A/A arm: it feeds the noise floor and gets a plain effect, and stays outside the Holm family.
    An arm with an infinite logarithm (a metric of zero) has no ratio and no verdict. Pass normal or rigorous mode only for the
    primary metric; other metrics are shown unadjusted, which is what `Mode.QUICK` does.
    """
    if log_values.ndim != 2 or not 0 <= baseline < log_values.shape[1]:
        raise ValueError(f"values of shape {log_values.shape} have no baseline {baseline}")
    band = Band.of(smallest_effect)
    floor = noise_floor(log_values)
    paired = [_pair(log_values, arm, baseline) for arm in range(log_values.shape[1]) if arm != baseline]
    family = [each for each in paired if each.arm != twin]
    court = _Court(band, floor, better)
    effects = [_alone(court, each) for each in paired if each.arm == twin or mode is Mode.QUICK]
    if mode is not Mode.QUICK:
        differences = holm([each.difference_p() for each in family], risk=RISK)
        equivalences = holm([each.equivalence_p(band) for each in family], risk=RISK)
        for each, difference, equivalence in zip(family, differences, equivalences, strict=True):
            effects.append(court.effect(each, difference, equivalence, family=len(family)))
    return Judgement(tuple(sorted(effects, key=lambda effect: effect.arm)), floor, mode, baseline, twin)


def withhold(judgement: Judgement, reason: Reason = Reason.VOIDS_APART) -> Judgement:
    """The same effects without verdicts: for void shares that lie apart, where the surviving trials are no fair sample."""
    withheld = (
        replace(effect, verdict=Verdict.INCONCLUSIVE, relevant=False, reason=reason, blocks_needed=None)
        for effect in judgement.effects
    )
    return replace(judgement, effects=tuple(withheld))


def _pair(log_values: Floats, arm: int, baseline: int) -> _Paired:
    both = log_values[:, [arm, baseline]]
    both = both[~np.isnan(both).any(axis=1)]
    blocks = int(both.shape[0])
    infinite = bool(np.isinf(both).any())
    ranks = None if infinite or blocks == 0 else SignedRank.of(both[:, 0] - both[:, 1])
    return _Paired(arm, ranks, blocks, infinite)


@dataclass(frozen=True, slots=True)
class _Court:
    """What every arm of one judgement is held against."""

    band: Band
    floor: NoiseFloor
    better: str

    def effect(self, paired: _Paired, difference: Adjusted, equivalence: Adjusted, *, family: int) -> Effect:
        """The verdict on one arm, at the risks that the family leaves it."""
        if paired.ranks is None:
            return _nothing_paired(paired, blocks_for(difference.risk), family)
        # Two one-sided tests at `risk` each are the two-sided interval at twice the risk: 90 % for 5 %.
        effect = LogEffect(
            paired.ranks.centre, paired.ranks.interval(difference.risk), paired.ranks.interval(2.0 * equivalence.risk)
        )
        floor = self.floor.log_floor(paired.blocks)
        ruling = rule(effect, self.band, floor=floor, better=self.better)
        more = None
        if ruling.verdict is Verdict.INCONCLUSIVE:
            more = _more_blocks(effect, self.band.margin, paired.blocks, floor=floor, risks=(difference.risk, equivalence.risk))
        return Effect(
            arm=paired.arm,
            blocks=paired.blocks,
            ratio=math.exp(min(effect.centre, 709.0)),
            interval=_as_ratio(effect.difference),
            plain=_as_ratio(paired.ranks.interval(RISK)),
            equivalence=_as_ratio(effect.equivalence),
            p_value=difference.p_value,
            equivalence_p=equivalence.p_value,
            family=family,
            verdict=ruling.verdict,
            relevant=ruling.relevant,
            reason=ruling.reason,
            blocks_needed=more,
        )


def _nothing_paired(paired: _Paired, needed: int, family: int) -> Effect:
    return Effect(
        arm=paired.arm,
        blocks=paired.blocks,
        ratio=None,
        interval=None,
        plain=None,
        equivalence=None,
        p_value=1.0,
        equivalence_p=1.0,
        family=family,
        verdict=Verdict.INCONCLUSIVE,
        relevant=False,
        reason=Reason.NO_RATIO if paired.no_ratio else Reason.TOO_FEW_BLOCKS,
        blocks_needed=None if paired.no_ratio else needed,
    )


def _as_ratio(interval: Interval | None) -> Interval | None:
    return None if interval is None else interval.exponentiated()


def _more_blocks(effect: LogEffect, margin: float, blocks: int, *, floor: float, risks: tuple[float, float]) -> int:
    """About how many more blocks settle the question with probability 80 %, if the estimate is the truth.

    Widths shrink with the root of the blocks. The cheaper way out counts: leaving 1 behind, or fitting the band.
    """
    difference_risk, equivalence_risk = risks
    if effect.difference is None or effect.equivalence is None:
        return max(1, blocks_for(difference_risk) - blocks)
    distance = abs(effect.centre)
    ways = (
        (max(effect.difference.reach, floor), distance, difference_risk / 2.0),
        (effect.equivalence.reach, margin - distance, equivalence_risk),
    )
    power = normal_quantile(0.8)
    # One way at least is open: the band has a width, so no estimate lies at 1 and at its edge.
    factor = min((reach * (1.0 - power / normal_quantile(tail)) / room) ** 2 for reach, room, tail in ways if room > 0.0)
    return max(1, math.ceil(min(blocks * (factor - 1.0), 1e9)))


def _alone(court: _Court, paired: _Paired) -> Effect:
    """The effect of an arm that shares its risk with no other."""
    difference = Adjusted(paired.difference_p(), RISK)
    return court.effect(paired, difference, Adjusted(paired.equivalence_p(court.band), RISK), family=1)
