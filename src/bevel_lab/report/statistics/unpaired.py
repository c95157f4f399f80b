"""Is one arm better than another where no two runs share a seed? Welch's permutation test and its interval.

Array functions take the runs along the last axis, and any number of axes before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np

from bevel_lab.report.statistics.arrays import LEVEL, POWER, Floats, sd_of, unit_of
from bevel_lab.report.statistics.bootstrap import LEAST_FOR_INTERVAL, RESAMPLES, bca_quantiles
from bevel_lab.report.statistics.power import fewest, tost_power
from bevel_lab.report.statistics.sign_flips import PATTERNS

EXACT_SPLITS = 20_000
"""Splits of all runs into two groups that are tried one by one: eight and eight have 12,870."""
_ROWS = 64
"""Experiments whose splits are in memory at once."""
_SLACK = 1e-13
"""Variance added to the observed split's, as a share of the runs' sum of squares; the other splits get half of it.

It exceeds rounding, so that splits that are equally extreme count as such where no group has any spread, too.
"""


def welch(first: Floats, second: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided permutation test with Welch's t as its statistic, which allows for unequal spreads.

    It tries all splits of the runs into two groups up to ``EXACT_SPLITS``, and ``PATTERNS`` random ones above; the
    observed one counts as tried, so that p is at least 1 / splits.
    """
    return _tried(first, second, rng, two_sided=True)


def within(first: Floats, second: Floats, margin: float, rng: np.random.Generator) -> Floats:
    """Two one-sided permutation tests: small p say that the means lie within ± ``margin`` of each other."""
    below = _tried(first + margin, second, rng, two_sided=False)
    return np.maximum(below, _tried(second + margin, first, rng, two_sided=False))


def bca(
    first: Floats, second: Floats, rng: np.random.Generator, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated bootstrap interval of mean(first) − mean(second), groups resampled apart."""
    n, m = first.shape[-1], second.shape[-1]
    a, b = first.reshape(-1, n), second.reshape(-1, m)
    weights = [rng.multinomial(k, np.full(k, 1 / k), size=resamples) / k for k in (n, m)]
    means = np.sort(a @ weights[0].T - b @ weights[1].T, axis=1)
    pull = np.concatenate([(a - a.mean(1, keepdims=True)) / n, (b.mean(1, keepdims=True) - b) / m], axis=1)
    observed = a.mean(1, keepdims=True) - b.mean(1, keepdims=True)
    largest = np.maximum(np.abs(a).max(1, keepdims=True), np.abs(b).max(1, keepdims=True))
    low, high = bca_quantiles(means, observed, largest, pull, level)
    shape = first.shape[:-1]
    return low.reshape(shape), high.reshape(shape)


def least_p(first: int, second: int) -> tuple[float, float]:
    """The smallest p of so many runs, two-sided and one-sided; of equal groups each split has a twin as extreme."""
    exact = _exact(first, second)
    tried = math.comb(first + second, first) if exact else PATTERNS + 1
    return (2 if first == second and exact else 1) / tried, 1 / tried


def runs_needed(arms: int) -> int:
    """The fewest runs of every arm with which ``arms`` comparisons have an interval and can reach 5 % after Holm."""
    return max(LEAST_FOR_INTERVAL, fewest(lambda runs: least_p(runs, runs)[0] * arms <= LEVEL))


def smallest_effect(first: int, second: int, arms: int, power: float = POWER) -> float:
    """The true difference, in sd of a run, that is found with probability ``power``, at Holm's first step.

    For normal scores, by the t test, which the permutation test comes near to; infinite where its smallest p exceeds
    the level, or where there is no interval.
    """
    from scipy import optimize  # here: they take a second to import
    from scipy import stats as scipy_stats

    freedom = first + second - 2
    if min(first, second) < LEAST_FOR_INTERVAL or least_p(first, second)[0] * arms > LEVEL:
        return math.inf
    bar = scipy_stats.t.isf(LEVEL / arms / 2, freedom)
    found: float = optimize.brentq(lambda shift: scipy_stats.nct.sf(bar, freedom, shift) - power, 0.0, 10 * bar + 10)
    return found * math.sqrt(1 / first + 1 / second)


class Groups:
    """The runs of an arm and of the reference, none of which are pairs; the interface is that of ``Pairs``.

    Args:
        scores, base: run → score of the arm and of the reference.
    """

    paired = False
    unused = 0

    def __init__(self, scores: Mapping[int, float], base: Mapping[int, float]) -> None:
        own, theirs = (np.array([s for s in group.values() if math.isfinite(s)]) for group in (scores, base))
        self.unit = unit_of(np.concatenate([own, theirs]))
        self.own, self.theirs = own / self.unit, theirs / self.unit
        self.runs = min(own.size, theirs.size)

    @property
    def difference(self) -> float:
        return float(self.own.mean() - self.theirs.mean()) if self.runs else math.nan

    @property
    def sd(self) -> float:
        """The standard deviation of a run: the groups' variances averaged; NaN with fewer than two runs in one."""
        return math.sqrt((sd_of(self.own) ** 2 + sd_of(self.theirs) ** 2) / 2)

    @property
    def improvement(self) -> float:
        """The share of all pairs of an own and a reference's run that the own wins; a tie is half a win."""
        return float((np.sign(self.own[:, None] - self.theirs).mean() + 1) / 2) if self.runs else math.nan

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.own.size, self.theirs.size

    @property
    def least(self) -> tuple[float, float]:
        """The smallest p; 1 where there are too few runs for the interval that a verdict needs."""
        return least_p(self.own.size, self.theirs.size) if self.runs >= LEAST_FOR_INTERVAL else (1.0, 1.0)

    def p(self, rng: np.random.Generator) -> float:
        return float(welch(self.own, self.theirs, rng)) if self.runs > 1 else 1.0

    def interval(self, rng: np.random.Generator, level: float = LEVEL) -> tuple[float, float]:
        if self.runs < LEAST_FOR_INTERVAL:
            return math.nan, math.nan
        low, high = bca(self.own, self.theirs, rng, level=level)
        return float(low), float(high)

    def equivalence(self, margin: float, rng: np.random.Generator) -> float:
        return float(within(self.own, self.theirs, margin / self.unit, rng)) if self.runs > 1 else 1.0

    def detectable(self, arms: int, rng: np.random.Generator) -> float:
        return smallest_effect(self.own.size, self.theirs.size, arms)

    def settle(self, margin: float, arms: int) -> int:
        """Number of runs of each arm that show equivalence with 80 % power if there is no difference."""
        if not self.sd > 0:
            return self.runs
        return equivalence_runs(margin / self.unit / self.sd, arms)


def equivalence_power(runs: int, margin: float, arms: int) -> float:
    """Like ``power.equivalence_power`` for ``runs`` runs of each of two arms; ``margin`` in sd of a run."""
    if runs < LEAST_FOR_INTERVAL or least_p(runs, runs)[1] > LEVEL / arms:
        return 0.0
    return tost_power(margin * math.sqrt(runs / 2), 2 * runs - 2, LEVEL / arms)


def equivalence_runs(margin: float, arms: int, power: float = POWER) -> int:
    """Fewest runs of each arm that show equivalence with probability ``power``."""
    return fewest(lambda runs: equivalence_power(runs, margin, arms) >= power)


def _tried(first: Floats, second: Floats, rng: np.random.Generator, *, two_sided: bool) -> Floats:
    """P of the observed split among all, or among random ones."""
    n, m = first.shape[-1], second.shape[-1]
    runs = np.concatenate([first, second], axis=-1).reshape(-1, n + m)
    for _ in range(2):  # the second time takes off what rounding left of the mean
        runs = runs - runs.mean(axis=1, keepdims=True)
    splits = _splits(n, m, rng)
    extreme = np.zeros(len(runs))
    for start in range(0, len(runs), _ROWS):
        rows = runs[start : start + _ROWS]
        sums = rows[:, :n].sum(1)[:, None], (rows[:, :n] ** 2).sum(1)[:, None]
        observed = _statistic(*sums, rows, n, two_sided, _SLACK)
        found = _statistic(rows @ splits.T, rows**2 @ splits.T, rows, n, two_sided, _SLACK / 2)
        extreme[start : start + _ROWS] = (found >= observed - 1e-9 * np.maximum(1.0, np.abs(observed))).sum(1)
    # of all splits, the observed one is one
    p: Floats = extreme / len(splits) if _exact(n, m) else (1 + extreme) / (1 + len(splits))
    return p.reshape(first.shape[:-1])


def _statistic(total: Floats, squares: Floats, rows: Floats, n: int, two_sided: bool, slack: float) -> Floats:
    """Welch's t from sums and sums of squares of the first group; the rows' means are 0. It is 0 if all are equal."""
    m = rows.shape[1] - n
    scale = (rows**2).sum(axis=1, keepdims=True)
    variance = np.maximum(squares - total**2 / n, 0) / (n - 1) / n
    variance += np.maximum(scale - squares - total**2 / m, 0) / (m - 1) / m
    variance += slack * scale
    difference = total / n + total / m  # the second group's sum is minus the first's
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(scale == 0, 0.0, difference / np.sqrt(variance))
    return np.abs(t) if two_sided else t


def _exact(n: int, m: int) -> bool:
    """Whether all splits are tried. They are more than the runs, so those of very many runs need no counting."""
    return n + m <= EXACT_SPLITS and math.comb(n + m, n) <= EXACT_SPLITS


def _splits(n: int, m: int, rng: np.random.Generator) -> Floats:
    """Rows of n ones and m zeros: all of them, or random ones."""
    if _exact(n, m):
        chosen = np.array(list(itertools.combinations(range(n + m), n)))
    else:
        chosen = rng.random((PATTERNS, n + m)).argpartition(n, axis=1)[:, :n]
    made = np.zeros((len(chosen), n + m))
    np.put_along_axis(made, chosen, 1.0, axis=1)
    return made
