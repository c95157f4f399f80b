"""Is one activation better than another? Paired statistics over seeds, and a verdict in words.

Every array function takes its pairs along the last axis and any number of axes before it, so that the judge itself
can be judged on thousands of simulated experiments at once (``calibration``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

Floats: TypeAlias = npt.NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
RESAMPLES = 9_999
EXACT_PAIRS = 16  # 2**15 sign patterns: the exact test still takes milliseconds
PATTERNS = 19_999  # of the Monte-Carlo test above that, which knows p to ±0.0015 at 0.05
_CHUNK = 1 << 23  # numbers in memory at once, 64 MiB


class Verdict(StrEnum):
    """The verdict on an arm against the reference."""

    BETTER = "better"
    WORSE = "worse"
    NO_EVIDENCE = "no evidence"
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
        pairs: seeds on which both have a score.
        unpaired: seeds that only one of the two could use, because the other is missing or has no score.
        difference, low, high: mean paired difference and its 95 % BCa interval.
        p, adjusted: two-sided sign-flip p, before and after Holm over the arms.
        detectable: true difference that this many pairs find with 80 % power; infinite if there is none.
        improvement: probability of improvement, the share of pairs in which the arm wins; a tie is half a win.
        verdict: the verdict in words.
        needed: pairs from which a verdict is possible in this family of arms.
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
    verdict: Verdict
    needed: int


def summary(scores: Mapping[int, float]) -> Summary:
    """Mean ± sd over the runs that have a score; the others count as failed."""
    values = np.array([s for s in scores.values() if math.isfinite(s)], dtype=np.float64)
    unit = _unit(values)
    mean = float((values / unit).mean()) * unit if values.size else math.nan
    return Summary(runs=values.size, failed=len(scores) - values.size, mean=mean, sd=_sd(values))


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


def bca(differences: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated bootstrap interval (95 %) of the mean.

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
            bias, pull = _bias(means, flat[rows]), _acceleration(flat[rows])
            low[rows], high[rows] = (_quantile(means, _corrected(q, bias, pull)) for q in (LEVEL / 2, 1 - LEVEL / 2))
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


def improvement(differences: Floats) -> Floats:
    """Probability of improvement: the share of pairs won; a tie is half a win."""
    wins: Floats = (np.sign(differences).mean(axis=-1) + 1) / 2
    return wins


def verdicts(adjusted: Floats, low: Floats, high: Floats, pairs: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """Verdicts from adjusted p and intervals; the arms of a family lie along the last axis.

    Better and worse need an adjusted p of at most 5 % and an interval that excludes zero. The verdict is too few seeds
    if the adjusted p would exceed 5 % even if every arm were as extreme as its number of pairs allows.
    """
    best = holm(np.broadcast_to(2.0 ** (1.0 - np.asarray(pairs, dtype=np.float64)), adjusted.shape))
    found = np.empty(adjusted.shape, dtype=object)
    found.fill(Verdict.NO_EVIDENCE)  # np.full would make plain strings of them
    found[best > LEVEL] = Verdict.TOO_FEW
    found[(adjusted <= LEVEL) & (low > 0)] = Verdict.BETTER
    found[(adjusted <= LEVEL) & (high < 0)] = Verdict.WORSE
    return found


def differs(found: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Mark the verdicts that are better or worse."""
    return np.isin(found, (Verdict.BETTER, Verdict.WORSE))


def compare(
    scores: Mapping[str, Mapping[int, float]], reference: str, rng: np.random.Generator
) -> dict[str, Comparison]:
    """Compare every other arm with the reference.

    ``scores`` maps arm → seed → score, where larger is better and NaN is a run without a score. Arms are paired with
    the reference on the seeds for which both have a score.
    """
    arms = [arm for arm in scores if arm != reference]
    base = {seed: s for seed, s in scores[reference].items() if math.isfinite(s)}
    found = {arm: _paired(scores[arm], base) for arm in arms}
    units = [_unit(d) for d in found.values()]
    paired = {arm: d / unit for (arm, d), unit in zip(found.items(), units, strict=True)}
    p = [float(sign_flip(d, rng)) if d.size else 1.0 for d in paired.values()]
    bounds = [bca(d, rng) if d.size else (math.nan, math.nan) for d in paired.values()]
    effects = {n: smallest_effect(n, len(arms), rng) for n in sorted({d.size for d in paired.values()})}
    alone = [
        Comparison(
            arm=arm,
            pairs=d.size,
            unpaired=len(set(scores[arm]) | set(scores[reference])) - d.size,
            difference=float(d.mean()) * unit if d.size else math.nan,
            low=float(low) * unit,
            high=float(high) * unit,
            p=p_value,
            adjusted=p_value,
            detectable=effects[d.size] * _sd(d) * unit if math.isfinite(effects[d.size]) else math.inf,
            improvement=float(improvement(d)) if d.size else math.nan,
            verdict=Verdict.NO_EVIDENCE,
            needed=0,
        )
        for (arm, d), unit, p_value, (low, high) in zip(paired.items(), units, p, bounds, strict=True)
    ]
    return {c.arm: c for c in as_family(alone)}


def as_family(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons as one family: with Holm's adjustment over all of them, and the verdicts that follow."""
    if not found:
        return []
    adjusted = holm(np.array([c.p for c in found]))
    low, high, pairs = (np.array([getattr(c, key) for c in found]) for key in ("low", "high", "pairs"))
    needed = pairs_needed(len(found))
    both = zip(found, adjusted, verdicts(adjusted, low, high, pairs), strict=True)
    return [replace(c, adjusted=float(p), verdict=verdict, needed=needed) for c, p, verdict in both]


def _paired(scores: Mapping[int, float], base: Mapping[int, float]) -> Floats:
    common = sorted(seed for seed, s in scores.items() if math.isfinite(s) and seed in base)
    return np.array([scores[seed] - base[seed] for seed in common], dtype=np.float64)


def _unit(values: Floats) -> float:
    """The power of two at the largest value: divided by it, squares and cubes of the values stay finite and exact."""
    _, exponent = np.frexp(np.abs(values).max(initial=0.0))
    return math.ldexp(1.0, max(int(exponent) - 1, -1022))


def _sd(values: Floats) -> float:
    """The sample standard deviation; NaN for fewer than two values."""
    unit = _unit(values)
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


def _bias(means: Floats, flat: Floats) -> Floats:
    """BCa's z0: the normal quantile of the share of resampled means below the observed one, ties half."""
    # Resampled means of equal numbers differ from their mean by rounding, so ties get that slack.
    observed = flat.mean(axis=1, keepdims=True)
    slack = 1e-12 * np.abs(flat).max(axis=1, keepdims=True)
    below = (means < observed - slack).sum(axis=1)
    upto = (means <= observed + slack).sum(axis=1)
    bias: Floats = special.ndtri((below + upto) / (2 * means.shape[1]))
    return bias


def _acceleration(flat: Floats) -> Floats:
    """BCa's a for the mean: the jackknife's skewness / 6, and 0 where the numbers do not differ."""
    pull = flat - flat.mean(axis=1, keepdims=True)  # proportional to jackknife mean − leave-one-out mean
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
