"""How many seeds a question takes, and which difference so many seeds can find."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bevel.errors import InvalidValue
from bevel_lab.report.analysis.cells import SEED
from bevel_lab.report.statistics import unpaired
from bevel_lab.report.statistics.power import effect_found, equivalence_power, fewest

MOST = 100_000
"""Seeds beyond which nobody asks."""


@dataclass(frozen=True)
class Plan:
    """What so many seeds can find.

    Attributes:
        seeds: number of seeds, that is of pairs, or of runs of each arm.
        difference: true difference that they find with probability ``power``; infinite if there is none.
        margin: margin within which they show equivalence so often, if there is no difference.
        sd, arms, power, paired: as asked.

    Example:
        >>> from bevel_lab.report import power
        >>> found = power(sd=0.3, difference=0.2, arms=5)
        >>> found.seeds, round(found.margin, 2)
        (30, 0.21)
    """

    seeds: int
    difference: float
    margin: float
    sd: float
    arms: int
    power: float
    paired: bool


def plan(sd: float, arms: int, difference: float | None, seeds: int | None, power: float, is_paired: bool) -> Plan:
    """See :func:`bevel_lab.report.power`."""
    _check(sd, arms, difference, seeds, power)

    def found(count: int) -> float:
        if not is_paired:
            return unpaired.smallest_effect(count, count, arms, power) * sd
        return effect_found(count, arms, np.random.default_rng(SEED), power) * sd

    if seeds is None:
        assert difference is not None
        seeds = fewest(lambda count: found(count) <= difference, MOST)
        if seeds >= MOST:
            raise InvalidValue(f"no number of seeds below {MOST:,} finds {difference:g}; ask for a larger difference.")
    return Plan(seeds, found(seeds), sd * _margin(seeds, arms, power, is_paired), sd, arms, power, is_paired)


def _margin(seeds: int, arms: int, power: float, is_paired: bool) -> float:
    """The least margin in sd with which so many seeds show equivalence; infinite if none does."""
    reached = equivalence_power if is_paired else unpaired.equivalence_power
    low, high = 0.0, 1e3
    if reached(seeds, high, arms) < power:
        return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(seeds, middle, arms) >= power else (middle, high)
    return high


def _check(sd: float, arms: int, difference: float | None, seeds: int | None, power: float) -> None:
    if not 0 < sd < math.inf:
        raise InvalidValue(f"sd must be a number above 0; got {sd!r}.")
    if arms < 1:
        raise InvalidValue(f"arms must be a whole number, at least 1; got {arms!r}.")
    if not 0 < power < 1:
        raise InvalidValue(f"power must lie between 0 and 1; got {power!r}.")
    if (difference is None) == (seeds is None):
        raise InvalidValue("give difference, to learn the seeds, or seeds, to learn the difference.")
    if difference is not None and not 0 < difference < math.inf:
        raise InvalidValue(f"difference must be a number above 0; got {difference!r}.")
    if seeds is not None and seeds < 2:
        raise InvalidValue(f"seeds must be a whole number, at least 2; got {seeds!r}.")
