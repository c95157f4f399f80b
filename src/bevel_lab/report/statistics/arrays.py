"""Numbers that the statistics share: levels, scales that keep squares finite, and work in pieces that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
_CHUNK = 1 << 23  # numbers in memory at once, 64 MiB


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


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Return slices of as many rows as fit in memory with ``width`` numbers each."""
    step = max(1, _CHUNK // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))
