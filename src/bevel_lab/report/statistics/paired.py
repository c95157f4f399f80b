"""Is one arm better than another on the same seeds?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bevel_lab.report.statistics.arrays import LEVEL, Floats, sd_of, unit_of
from bevel_lab.report.statistics.bootstrap import LEAST_FOR_INTERVAL, bca
from bevel_lab.report.statistics.power import equivalence_runs, smallest_effect
from bevel_lab.report.statistics.remembered import remembered
from bevel_lab.report.statistics.sign_flips import sign_flip, within


def holm(p: Floats) -> Floats:
    """Adjust p by Holm's step-down method over the last axis; it controls the family-wise error for any dependence."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted


def improvement(differences: Floats) -> Floats:
    """Probability of improvement: the share of pairs won; a tie is half a win."""
    wins: Floats = (np.sign(differences).mean(axis=-1) + 1) / 2
    return wins


class Pairs:
    """An arm and the reference on the seeds for which both have a score.

    Args:
        scores, base: seed → score of the arm and of the reference.

    Attributes:
        runs: number of pairs, also of runs of the arm.
        unused: seeds that only one of the two could use, because the other is missing or has no score.
        unit: power of two that the differences are divided by.
        differences: paired differences in that unit.
    """

    paired = True

    def __init__(self, scores: Mapping[int, float], base: Mapping[int, float]) -> None:
        known = {seed for seed, s in base.items() if math.isfinite(s)}
        common = sorted(seed for seed, s in scores.items() if math.isfinite(s) and seed in known)
        self.runs, self.unused = len(common), len(set(scores) | set(base)) - len(common)
        ours, theirs = (np.array([found[seed] for seed in common], dtype=np.float64) for found in (scores, base))
        large = max(unit_of(ours), unit_of(theirs))  # in this unit no difference is infinite
        found = ours / large - theirs / large
        unit = max(unit_of(found), 2.0**-1022 / large)  # so that the product is no subnormal number
        self.unit = large * unit
        self.differences: Floats = found / unit

    @property
    def difference(self) -> float:
        return float(self.differences.mean()) if self.runs else math.nan

    @property
    def sd(self) -> float:
        return sd_of(self.differences)

    @property
    def improvement(self) -> float:
        return float(improvement(self.differences)) if self.runs else math.nan

    @property
    def least(self) -> tuple[float, float]:
        """The smallest p that so many pairs allow, two-sided and one-sided."""
        return 2.0 ** (1 - self.runs), 2.0**-self.runs

    @property
    def sizes(self) -> tuple[int, ...]:
        """What :meth:`detectable` depends on."""
        return (self.runs,)

    def p(self, rng: np.random.Generator) -> float:
        return float(sign_flip(self.differences, rng)) if self.runs else 1.0

    def interval(self, rng: np.random.Generator, level: float = LEVEL) -> tuple[float, float]:
        """The BCa interval; NaN for fewer than :data:`LEAST_FOR_INTERVAL` pairs."""
        if self.runs < LEAST_FOR_INTERVAL:
            return math.nan, math.nan
        low, high = bca(self.differences, rng, level=level)
        return float(low), float(high)

    def equivalence(self, margin: float, rng: np.random.Generator) -> float:
        """The larger p of the one-sided tests of "the difference is −margin or less" and "margin or more"."""
        return float(within(self.differences, margin / self.unit, rng)) if self.runs else 1.0

    def detectable(self, arms: int, rng: np.random.Generator) -> float:
        return remembered(lambda: smallest_effect(self.runs, arms, rng), rng, "smallest effect", self.runs, arms)

    def settle(self, margin: float, arms: int) -> int:
        """Number of pairs that show equivalence with 80 % power if there is no difference."""
        return equivalence_runs(margin / self.unit / self.sd, arms) if self.sd > 0 else self.runs
