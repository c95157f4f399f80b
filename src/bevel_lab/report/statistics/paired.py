"""Is one arm better than another on the same seeds? Tests and intervals of paired differences.

Every array function takes its pairs along the last axis and any number of axes before it, so that the judge itself
can be judged on thousands of simulated experiments at once (``calibration``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Floats: TypeAlias = npt.NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
RESAMPLES = 9_999
LEAST_FOR_INTERVAL = 5
"""Fewest runs with which an interval is given: with fewer a bootstrap's 95 % are far from it."""
SIMULATED_PAIRS = 16  # above, the t test is as near as the simulation
EXACT_PAIRS = 16  # 2**15 sign patterns: the exact test still takes milliseconds
PATTERNS = 19_999  # of the Monte-Carlo test above that, which knows p to ±0.0015 at 0.05
_CHUNK = 1 << 23  # numbers in memory at once, 64 MiB


def sign_flip(differences: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided sign-flip (randomization) test of "the differences are symmetric about zero".

    The test tries all sign patterns up to ``EXACT_PAIRS`` pairs, and ``PATTERNS`` random ones above. In both cases
    p = (1 + extreme) / (1 + tried), where the 1 is the observed pattern. The exact test counts a pattern and its
    opposite once, since they are equally extreme, so its smallest p is 2 / 2**pairs.
    """
    differences = np.asarray(differences, dtype=np.float64)
    flat = differences.reshape(-1, differences.shape[-1])
    signs = _patterns(differences.shape[-1], EXACT_PAIRS, PATTERNS, rng)
    observed = np.abs(flat.sum(axis=1))
    bar = observed - 1e-12 * np.abs(flat).sum(axis=1)  # equal sums stay equal after rounding
    extreme = np.zeros(len(flat), dtype=np.int64)
    for rows in _chunks(len(flat), len(signs)):
        extreme[rows] = (np.abs(flat[rows] @ signs.T) >= bar[rows, None]).sum(axis=1)
    p: Floats = ((1 + extreme) / (1 + len(signs))).reshape(differences.shape[:-1])
    return p


def within(differences: Floats, margin: npt.ArrayLike, rng: np.random.Generator) -> Floats:
    """Two one-sided sign-flip tests: small p say that the mean difference lies within ± ``margin``.

    Each test asks whether the differences are symmetric about −margin (or +margin) against the inside; the larger of
    both p counts. The observed pattern is among those that are tried, so that the exact p is at least 1 / 2**pairs.
    """
    differences = np.asarray(differences, dtype=np.float64)
    shift = np.asarray(margin, dtype=np.float64)[..., None]
    return np.maximum(_one_sided(shift + differences, rng), _one_sided(shift - differences, rng))


def _one_sided(differences: Floats, rng: np.random.Generator) -> Floats:
    """Sign-flip p of "symmetric about zero" against "larger"."""
    pairs = differences.shape[-1]
    flat = differences.reshape(-1, pairs)
    if pairs > EXACT_PAIRS:
        signs = rng.choice((-1.0, 1.0), size=(PATTERNS, pairs))
    else:
        signs = np.where(np.arange(1, 2**pairs)[:, None] >> np.arange(pairs) & 1, -1.0, 1.0)
    bar = flat.sum(axis=1) - 1e-12 * np.abs(flat).sum(axis=1)
    extreme = np.zeros(len(flat), dtype=np.int64)
    for rows in _chunks(len(flat), len(signs)):
        extreme[rows] = (flat[rows] @ signs.T >= bar[rows, None]).sum(axis=1)
    p: Floats = ((1 + extreme) / (1 + len(signs))).reshape(differences.shape[:-1])
    return p


def bca(
    differences: Floats, rng: np.random.Generator, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated bootstrap interval of the mean, by default of 95 %.

    All rows share their resamples. Equal differences give an interval of width zero; a single difference, which says
    nothing about its spread, gives NaN.
    """
    differences = np.asarray(differences, dtype=np.float64)
    pairs = differences.shape[-1]
    flat = differences.reshape(-1, pairs)
    low, high = np.full((2, len(flat)), np.nan)
    if pairs > 1:
        weights = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples) / pairs
        for rows in _chunks(len(flat), resamples):
            means = np.sort(flat[rows] @ weights.T, axis=1)
            observed, largest = flat[rows].mean(axis=1, keepdims=True), np.abs(flat[rows]).max(axis=1, keepdims=True)
            low[rows], high[rows] = bca_quantiles(means, observed, largest, flat[rows] - observed, level)
    shape = differences.shape[:-1]
    return low.reshape(shape), high.reshape(shape)


def holm(p: Floats) -> Floats:
    """Adjust p by Holm's step-down method over the last axis; it controls the family-wise error for any dependence."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted


def pairs_needed(arms: int) -> int:
    """The fewest pairs with which ``arms`` comparisons can reach 5 % after Holm: 2 / 2**pairs · arms ≤ 0.05."""
    pairs = 1
    while 2.0 ** (1 - pairs) * arms > LEVEL:
        pairs += 1
    return pairs


def smallest_effect(pairs: int, arms: int, rng: np.random.Generator, power: float = POWER) -> float:
    """The true mean difference, in sd of the paired difference, that is found with probability ``power``.

    It simulates the sign-flip test on normal differences at level 5 % / arms, which is Holm's first and hardest step.
    (The noncentral t is too optimistic with few patterns: 1.53 where nine pairs and seven arms need 1.97.) For noise z
    and shift d, the pattern that flips the set F is at least as extreme as the observed one if mean(z over F) ≤ −d, or
    the same over F's complement. So every noise sample has a smallest shift at which the test turns, an order
    statistic of those means; the answer is their ``power`` quantile. It is infinite if no outcome reaches the level.
    """
    signs = _patterns(pairs, 12, 4_095, rng)
    allowed = math.floor(LEVEL / arms * (1 + len(signs))) - 1  # patterns that may be as extreme as the observed one
    if pairs < 2 or allowed < 0:
        return math.inf
    noise = rng.standard_normal((4_000, pairs))
    flipped = (1 - signs) / 2
    count = flipped.sum(axis=1)
    turn = np.empty(len(noise))
    for rows in _chunks(len(noise), len(signs)):
        inside = noise[rows] @ flipped.T
        outside = noise[rows].sum(axis=1, keepdims=True) - inside
        with np.errstate(divide="ignore", invalid="ignore"):  # an empty set has no mean and does not matter
            means = np.fmin(inside / count, outside / (pairs - count))
        turn[rows] = -np.partition(means, allowed, axis=1)[:, allowed]
    return float(np.quantile(turn, power))


def effect_found(pairs: int, arms: int, rng: np.random.Generator, power: float = POWER) -> float:
    """Like :func:`smallest_effect`, for any number of pairs: by the t test above ``SIMULATED_PAIRS``."""
    if pairs <= SIMULATED_PAIRS:
        return smallest_effect(pairs, arms, rng, power)
    bar = float(special.stdtrit(pairs - 1, 1 - LEVEL / arms / 2))
    found: float = optimize.brentq(lambda shift: 1 - special.nctdtr(pairs - 1, shift, bar) - power, 0.0, 10 * bar + 10)
    return found / math.sqrt(pairs)


def equivalence_power(pairs: int, margin: float, arms: int) -> float:
    """Probability that two one-sided tests at level 5 % / arms show equivalence where there is no difference.

    For normal differences, by the t tests, which the sign-flip tests come near to; 0 where their smallest p exceeds
    the level. ``margin`` is in sd of the paired difference.
    """
    if pairs < 2 or 2.0**-pairs > LEVEL / arms:
        return 0.0
    return tost_power(margin * math.sqrt(pairs), pairs - 1, LEVEL / arms)


def equivalence_runs(margin: float, arms: int, power: float = POWER) -> int:
    """Fewest pairs that show equivalence with probability ``power``; see :func:`equivalence_power`."""
    return fewest(lambda pairs: equivalence_power(pairs, margin, arms) >= power)


def tost_power(margin: float, freedom: int, level: float) -> float:
    """Power at no difference for a margin in standard errors: the mean over the sd that a sample may have."""
    spread = np.sqrt(special.chdtri(freedom, (np.arange(400) + 0.5) / 400) / freedom)
    room = margin - special.stdtrit(freedom, 1 - level) * spread
    return float(np.maximum(0.0, 2 * special.ndtr(room) - 1).mean())


def fewest(enough: Callable[[int], bool], most: int = 1_000_000) -> int:
    """The smallest number from 2 on that is enough, where each larger one is, too; ``most`` if none below is."""
    high = 2
    while high < most and not enough(high):
        high *= 2
    low = high // 2
    if high >= most:
        high = most
        if not enough(most):
            return most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


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
        return _remembered_effect(self.runs, arms, rng)

    def settle(self, margin: float, arms: int) -> int:
        """Number of pairs that show equivalence with 80 % power if there is no difference."""
        return equivalence_runs(margin / self.unit / self.sd, arms) if self.sd > 0 else self.runs


_EFFECTS: dict[tuple[int, int, str], tuple[float, Mapping[str, Any]]] = {}


def _remembered_effect(pairs: int, arms: int, rng: np.random.Generator) -> float:
    """As :func:`smallest_effect`; the cells of a report ask for one number with generators in one state."""
    key = pairs, arms, repr(rng.bit_generator.state)
    if key not in _EFFECTS:
        effect = smallest_effect(pairs, arms, rng)
        _EFFECTS[key] = effect, rng.bit_generator.state
    effect, rng.bit_generator.state = _EFFECTS[key]
    return effect


def unit_of(values: Floats) -> float:
    """The power of two at the largest value: divided by it, squares and cubes of the values stay finite and exact."""
    _, exponent = np.frexp(np.abs(values).max(initial=0.0))
    return math.ldexp(1.0, max(int(exponent) - 1, -1022))


def mean_of(values: Floats) -> float:
    """The mean of numbers of any size; NaN if there are none, or one of them is NaN."""
    unit = unit_of(values[np.isfinite(values)])
    return float((values / unit).mean()) * unit if values.size else math.nan


def sd_of(values: Floats) -> float:
    """The sample standard deviation; NaN for fewer than two values."""
    unit = unit_of(values)
    return float((values / unit).std(ddof=1)) * unit if values.size > 1 else math.nan


def _patterns(pairs: int, exact_pairs: int, random: int, rng: np.random.Generator) -> Floats:
    """Return sign patterns (tried, pairs): all up to a common sign, without the identity, or random ones."""
    if pairs > exact_pairs:
        return rng.choice((-1.0, 1.0), size=(random, pairs)).astype(np.float64)
    codes = np.arange(1, 2 ** max(pairs - 1, 0))[:, None]
    return np.where(codes >> np.arange(pairs) & 1, -1.0, 1.0)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Return slices of as many rows as fit in memory with ``width`` numbers each."""
    step = max(1, _CHUNK // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))


def bca_quantiles(
    means: Floats, observed: Floats, largest: Floats, pull: Floats, level: float
) -> tuple[Floats, Floats]:
    """BCa's interval from resampled means.

    Args:
        means: sorted, rows×resamples.
        observed, largest: the observed mean and the largest number, rows×1.
        pull: each number's influence on the mean, rows×numbers, in any unit.
        level: 1 − the confidence.
    """
    bias, skew = _bias(means, observed, largest), _acceleration(pull)
    low, high = (_quantile(means, _corrected(q, bias, skew)) for q in (level / 2, 1 - level / 2))
    return low, high


def _bias(means: Floats, observed: Floats, largest: Floats) -> Floats:
    """BCa's z0: the normal quantile of the share of resampled means below the observed one, ties half."""
    # Resampled means of equal numbers differ from their mean by rounding, so ties get that slack.
    slack = 1e-12 * largest
    below = (means < observed - slack).sum(axis=1)
    upto = (means <= observed + slack).sum(axis=1)
    bias: Floats = special.ndtri((below + upto) / (2 * means.shape[1]))
    return bias


def _acceleration(pull: Floats) -> Floats:
    """BCa's a for the mean: the influences' skewness / 6, and 0 where the numbers do not differ."""
    square = (pull**2).sum(axis=1)
    cube = (pull**3).sum(axis=1)
    a: Floats = np.divide(cube, 6 * square**1.5, out=np.zeros_like(cube), where=square > 0)
    return a


def _corrected(q: float, bias: Floats, pull: Floats) -> Floats:
    """The percentile of the resampled means that BCa uses in place of ``q``."""
    z = bias + special.ndtri(q)
    corrected: Floats = special.ndtr(bias + z / (1 - pull * z))
    return corrected


def _quantile(rows: Floats, q: Floats) -> Floats:
    """Quantile ``q[i]`` of the sorted ``rows[i]``, interpolated linearly."""
    at = q * (rows.shape[1] - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, rows.shape[1] - 1)
    lower: Floats = np.take_along_axis(rows, below[:, None], axis=1)[:, 0]
    upper: Floats = np.take_along_axis(rows, above[:, None], axis=1)[:, 0]
    result: Floats = lower + (at - below) * (upper - lower)
    return result
