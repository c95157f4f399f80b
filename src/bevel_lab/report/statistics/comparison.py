"""Arms against a reference: numbers, and a verdict in words from tests over the whole family of arms."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from bevel_lab.report.statistics.arrays import LEVEL, Floats, mean_of, sd_of
from bevel_lab.report.statistics.paired import Pairs, holm
from bevel_lab.report.statistics.power import pairs_needed
from bevel_lab.report.statistics.unpaired import Groups, runs_needed


class Verdict(StrEnum):
    """The verdict on an arm against the reference."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NO_EVIDENCE = "no evidence"
    NOT_SETTLED = "not settled"
    TOO_FEW = "too few seeds"

    @property
    def differs(self) -> bool:
        """Whether the arm is called better or worse."""
        return self in (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """An arm on its own: runs with a score, runs without one, mean and sample standard deviation."""

    runs: int
    failed: int
    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the reference, over the seeds on which both have a score.

    Attributes:
        arm: its name.
        pairs: seeds on which both have a score; where runs are not paired, runs of the smaller arm.
        unpaired: seeds that only one of the two could use, because the other is missing or has no score.
        difference, low, high: mean difference and its 95 % BCa interval; NaN for an interval of too few runs.
        p, adjusted: two-sided p, before and after Holm over the arms.
        detectable: true difference that this many runs find with 80 % power; infinite if there is none.
        improvement: probability of improvement, the share of pairs in which the arm wins; a tie is half a win.
        verdict: the verdict in words.
        needed: runs from which a verdict of better or worse is possible in this family of arms.
        lower_is_better: whether a negative difference is in the arm's favor.
        paired: whether runs are paired by seed (sign-flip test), or not (Welch's permutation test).
        sd: standard deviation of the paired differences, or of a run where runs are not paired.
        least, least_equivalent: the smallest p that so many runs allow, of both tests.
        margin: largest difference that does not matter, named before the run; 0 where none is.
        within_low, within_high: 90 % interval of the difference, where there is a margin.
        p_equivalent, adjusted_equivalent: p of the two one-sided tests against the margin, before and after Holm.
        within: whether the difference is shown to be smaller than the margin.
        settle: runs that would show this with 80 % power, if there is no difference.
    """

    arm: str
    pairs: int
    unpaired: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    detectable: float
    improvement: float
    verdict: Verdict = Verdict.NO_EVIDENCE
    needed: int = 0
    lower_is_better: bool = False
    paired: bool = True
    sd: float = math.nan
    least: float = 1.0
    least_equivalent: float = 1.0
    margin: float = 0.0
    within_low: float = math.nan
    within_high: float = math.nan
    p_equivalent: float = 1.0
    adjusted_equivalent: float = 1.0
    within: bool = False
    settle: int = 0


def summary(scores: Mapping[int, float]) -> Summary:
    """Mean ± sd over the runs that have a score; the others count as failed."""
    values = np.array([s for s in scores.values() if math.isfinite(s)], dtype=np.float64)
    return Summary(runs=values.size, failed=len(scores) - values.size, mean=mean_of(values), sd=sd_of(values))


def verdicts(adjusted: Floats, low: Floats, high: Floats, least: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Verdicts of a difference from adjusted p and intervals; the arms of a family lie along the last axis.

    Better and worse need an adjusted p of at most 5 % and an interval that excludes zero. The verdict is too few seeds
    if the adjusted p would exceed 5 % even if every arm were as extreme as its number of runs allows, ``least``.
    """
    best = holm(np.broadcast_to(np.asarray(least, dtype=np.float64), adjusted.shape))
    found = np.empty(adjusted.shape, dtype=object)
    found.fill(Verdict.NO_EVIDENCE)  # np.full would make plain strings of them
    found[best > LEVEL] = Verdict.TOO_FEW
    found[(adjusted <= LEVEL) & (low > 0)] = Verdict.BETTER
    found[(adjusted <= LEVEL) & (high < 0)] = Verdict.WORSE
    return found


def differs(found: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Mark the verdicts that are better or worse."""
    return np.isin(found, (Verdict.BETTER, Verdict.WORSE))


def equivalent(adjusted: Floats, low: Floats, high: Floats, margin: Floats | float) -> npt.NDArray[np.bool_]:
    """Mark the arms shown to lie within the margin: an adjusted p of at most 5 %, and the 90 % interval inside."""
    found: npt.NDArray[np.bool_] = (adjusted <= LEVEL) & (low > -margin) & (high < margin)
    return found


def compare(
    scores: Mapping[str, Mapping[int, float]],
    reference: str,
    rng: np.random.Generator,
    margin: float = 0.0,
    *,
    lower_is_better: bool = False,
    unpaired: Collection[str] = (),
) -> dict[str, Comparison]:
    """Compare every other arm with the reference.

    Args:
        scores: arm → seed → score; NaN is a run without a score.
        reference: the arm that the others are compared with.
        rng: for resampling.
        margin: largest difference that does not matter; 0: equivalence is not asked for.
        lower_is_better: whether lower scores are better; differences stay arm − reference.
        unpaired: arms whose runs are not paired with the reference's; the others are paired on the seeds for which
            both have a score.
    """
    arms = [arm for arm in scores if arm != reference]
    base = scores[reference]
    tests: list[Pairs | Groups] = [(Groups if arm in unpaired else Pairs)(scores[arm], base) for arm in arms]
    p = [test.p(rng) for test in tests]
    bounds = [test.interval(rng) for test in tests]
    sizes = {test.sizes: test for test in tests}
    effects = {size: sizes[size].detectable(len(arms), rng) for size in sorted(sizes)}
    alone = [
        Comparison(
            arm=arm,
            pairs=test.runs,
            unpaired=test.unused,
            difference=test.difference * test.unit,
            low=low * test.unit,
            high=high * test.unit,
            p=p_value,
            adjusted=p_value,
            detectable=_scaled(effects[test.sizes], test),
            improvement=1 - test.improvement if lower_is_better else test.improvement,
            lower_is_better=lower_is_better,
            paired=test.paired,
            sd=test.sd * test.unit,
            least=test.least[0],
            least_equivalent=test.least[1],
            **(_equivalence(test, margin, len(arms), rng) if margin else {}),
        )
        for arm, test, p_value, (low, high) in zip(arms, tests, p, bounds, strict=True)
    ]
    return {c.arm: c for c in as_family(alone)}


def as_family(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons as one family: with Holm's adjustment over all of them, and the verdicts that follow."""
    if not found:
        return []
    p, low, high, least, p_within, within_low, within_high, least_within, margin = (
        np.array([getattr(c, key) for c in found])
        for key in ("p", "low", "high", "least", "p_equivalent", "within_low", "within_high", "least_equivalent",
                    "margin")
    )  # fmt: skip
    adjusted, adjusted_within = holm(p), holm(p_within)
    down = np.array([c.lower_is_better for c in found])
    said = verdicts(adjusted, np.where(down, -high, low), np.where(down, -low, high), least)
    inside = equivalent(adjusted_within, within_low, within_high, margin)
    said[(margin > 0) & ~differs(said) & (holm(least_within) <= LEVEL)] = Verdict.NOT_SETTLED
    said[~differs(said) & inside] = Verdict.EQUIVALENT
    needed = {True: pairs_needed(len(found)), False: runs_needed(len(found))}
    rows = zip(found, adjusted, adjusted_within, said, inside, strict=True)
    return [
        replace(c, adjusted=float(a), adjusted_equivalent=float(b), verdict=verdict, within=bool(within),
                needed=needed[c.paired])
        for c, a, b, verdict, within in rows
    ]  # fmt: skip


def _scaled(effect: float, test: Pairs | Groups) -> float:
    return effect * test.sd * test.unit if math.isfinite(effect) else math.inf


def _equivalence(test: Pairs | Groups, margin: float, arms: int, rng: np.random.Generator) -> dict[str, Any]:
    low, high = test.interval(rng, 2 * LEVEL)
    p = test.equivalence(margin, rng)
    return {
        "margin": margin,
        "within_low": low * test.unit,
        "within_high": high * test.unit,
        "p_equivalent": p,
        "settle": max(test.settle(margin, arms), test.runs + 1) if test.runs > 1 else 0,
    }
