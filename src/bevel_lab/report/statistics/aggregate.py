"""Numbers over several cells: interquartile mean, probability of improvement, average ranks, the Pareto front.

A stratum holds the paired differences of one cell, one number a seed. Resampling is stratified: it draws seeds within
each cell, so that every cell keeps its weight, and does not treat the cells as a sample of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.report.statistics.arrays import LEVEL, Floats
from bevel_lab.report.statistics.bootstrap import LEAST_FOR_INTERVAL, RESAMPLES
from bevel_lab.report.statistics.paired import improvement

Statistic = Callable[[Sequence[Floats]], Floats]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN if there is none."""

    value: float
    low: float
    high: float

    def times(self, unit: float) -> Estimate:
        return Estimate(self.value * unit, self.low * unit, self.high * unit)


@dataclass(frozen=True)
class Ranks:
    """Average ranks over cells, and which of them differ.

    Attributes:
        mean: average rank of each arm; 1 is the best score, and ties share their ranks.
        p: Friedman's test that all arms rank alike; NaN with fewer than three arms or two cells.
        critical: Nemenyi's critical difference of two average ranks at 5 %.
        groups: indices of neighboring arms whose average ranks lie within ``critical`` of one another, best first.
    """

    mean: Floats
    p: float
    critical: float
    groups: tuple[tuple[int, ...], ...]

    @property
    def possible(self) -> bool:
        """Whether any two arms could differ: average ranks lie at most arms − 1 apart."""
        return self.critical < len(self.mean) - 1


def iqm(strata: Sequence[Floats]) -> Floats:
    """Interquartile mean of all numbers of all strata; the lowest and the highest quarter do not count."""
    from scipy import stats as scipy_stats  # here: it takes a second to import

    return np.asarray(scipy_stats.trim_mean(np.concatenate(strata, axis=-1), 0.25, axis=-1), dtype=np.float64)


def won(strata: Sequence[Floats]) -> Floats:
    """Probability of improvement: the share of pairs won in a cell, averaged over cells; a tie is half a win."""
    share: Floats = np.mean([improvement(stratum) for stratum in strata], axis=0)
    return share


def stratified(
    strata: Sequence[Floats], statistic: Statistic, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Return ``statistic`` of the strata and its 95 % percentile interval from a bootstrap within each stratum.

    There is no interval if a stratum has fewer than ``LEAST_FOR_INTERVAL`` seeds.

    Args:
        strata: one array of shape (seeds,) a cell; none may be empty.
        statistic: a function of strata with the seeds along their last axis, such as ``iqm`` or ``won``.
    """
    drawn = [stratum[rng.integers(len(stratum), size=(resamples, len(stratum)))] for stratum in strata]
    low, high = np.quantile(statistic(drawn), (LEVEL / 2, 1 - LEVEL / 2))
    if min(map(len, strata)) < LEAST_FOR_INTERVAL:
        low = high = math.nan
    return Estimate(float(statistic(strata)), float(low), float(high))


def ranks(scores: Floats) -> Ranks:
    """Apply Friedman's and Nemenyi's tests to ``scores`` (cells, arms), where higher is better.

    Both need many cells: with few of them Friedman's p is rough and Nemenyi's critical difference is large.
    """
    from scipy import stats as scipy_stats  # here: it takes a second to import

    cells, arms = scores.shape
    by_cell = scipy_stats.rankdata(-scores, axis=1)
    mean: Floats = by_cell.mean(axis=0)
    # if all arms tie in every cell the statistic is 0 / 0, and nothing speaks against equality
    tied = bool(np.ptp(by_cell) == 0)
    p = math.nan
    if arms > 2 and cells > 1:
        p = 1.0 if tied else float(scipy_stats.friedmanchisquare(*scores.T).pvalue)
    return Ranks(mean=mean, p=p, critical=critical_difference(cells, arms), groups=_groups(mean, cells))


def critical_difference(cells: int, arms: int) -> float:
    """Nemenyi's critical difference: q / √2 · √(k(k + 1) / 6N) for k arms and N cells, where q is the 95 % quantile of
    the studentized range."""
    from scipy import stats as scipy_stats  # here: it takes a second to import

    q = float(scipy_stats.studentized_range.ppf(1 - LEVEL, arms, np.inf))
    return q / math.sqrt(2) * math.sqrt(arms * (arms + 1) / (6 * cells))


def pareto(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the indices of points that no other point beats in both cost (lower) and gain, the cheapest first."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i]))
    front: list[int] = []
    for i in order:
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front


def _groups(mean: Floats, cells: int) -> tuple[tuple[int, ...], ...]:
    """Find every longest run of at least two arms within the critical difference."""
    bar = critical_difference(cells, len(mean))
    order = [int(i) for i in np.argsort(mean, kind="stable")]
    found: list[tuple[int, ...]] = []
    for start, first in enumerate(order):
        run = tuple(i for i in order[start:] if mean[i] - mean[first] <= bar)
        if len(run) > 1 and not (found and set(run) <= set(found[-1])):
            found.append(run)
    return tuple(found)
