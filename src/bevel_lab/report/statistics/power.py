"""How many seeds find a difference, and which difference so many seeds find."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from bevel_lab.report.statistics.arrays import LEVEL, POWER, chunks
from bevel_lab.report.statistics.sign_flips import patterns

SIMULATED_PAIRS = 16  # above, the t test is as near as the simulation


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
    signs = patterns(pairs, 12, 4_095, rng)
    allowed = math.floor(LEVEL / arms * (1 + len(signs))) - 1  # patterns that may be as extreme as the observed one
    if pairs < 2 or allowed < 0:
        return math.inf
    noise = rng.standard_normal((4_000, pairs))
    flipped = (1 - signs) / 2
    count = flipped.sum(axis=1)
    turn = np.empty(len(noise))
    for rows in chunks(len(noise), len(signs)):
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
    from scipy import optimize  # here: it takes half a second to import

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
