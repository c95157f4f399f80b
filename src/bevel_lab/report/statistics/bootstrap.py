"""Bootstrap intervals of a mean, bias-corrected and accelerated (BCa); ``paired`` and ``unpaired`` use them."""

from __future__ import annotations

import numpy as np
from scipy import special

from bevel_lab.report.statistics.arrays import LEVEL, Floats, chunks
from bevel_lab.report.statistics.remembered import remembered

RESAMPLES = 9_999
LEAST_FOR_INTERVAL = 5
"""Fewest runs with which an interval is given: with fewer a bootstrap's 95 % are far from it."""
_REMEMBERED_PAIRS = 32
"""Resamples of more pairs are drawn anew: these take 2.5 MB, of which :mod:`remembered` keeps a few dozen."""


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
        weights = _weights(pairs, resamples, rng)
        for rows in chunks(len(flat), resamples):
            means = np.sort(flat[rows] @ weights.T, axis=1)
            observed, largest = flat[rows].mean(axis=1, keepdims=True), np.abs(flat[rows]).max(axis=1, keepdims=True)
            low[rows], high[rows] = bca_quantiles(means, observed, largest, flat[rows] - observed, level)
    shape = differences.shape[:-1]
    return low.reshape(shape), high.reshape(shape)


def _weights(pairs: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return the share of each pair in each resample; a report's cells mostly ask for the same ones (1.6 s of 10)."""

    def draw() -> Floats:
        drawn: Floats = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples) / pairs
        return drawn

    return remembered(draw, rng, "weights", pairs, resamples) if pairs <= _REMEMBERED_PAIRS else draw()


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
