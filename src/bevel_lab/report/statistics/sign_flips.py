"""Sign-flip tests of paired differences.

Every function takes its pairs along the last axis and any number of axes before it, so that the judge itself can be
judged on thousands of simulated experiments at once (``calibration``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bevel_lab.report.statistics.arrays import Floats, chunks

EXACT_PAIRS = 16  # 2**15 sign patterns: the exact test still takes milliseconds
PATTERNS = 19_999  # of the Monte-Carlo test above that, which knows p to ±0.0015 at 0.05


def sign_flip(differences: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided sign-flip (randomization) test of "the differences are symmetric about zero".

    The test tries all sign patterns up to ``EXACT_PAIRS`` pairs, and ``PATTERNS`` random ones above. In both cases
    p = (1 + extreme) / (1 + tried), where the 1 is the observed pattern. The exact test counts a pattern and its
    opposite once, since they are equally extreme, so its smallest p is 2 / 2**pairs.
    """
    differences = np.asarray(differences, dtype=np.float64)
    flat = differences.reshape(-1, differences.shape[-1])
    signs = patterns(differences.shape[-1], EXACT_PAIRS, PATTERNS, rng)
    observed = np.abs(flat.sum(axis=1))
    bar = observed - 1e-12 * np.abs(flat).sum(axis=1)  # equal sums stay equal after rounding
    extreme = np.zeros(len(flat), dtype=np.int64)
    for rows in chunks(len(flat), len(signs)):
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
    for rows in chunks(len(flat), len(signs)):
        extreme[rows] = (flat[rows] @ signs.T >= bar[rows, None]).sum(axis=1)
    p: Floats = ((1 + extreme) / (1 + len(signs))).reshape(differences.shape[:-1])
    return p


def patterns(pairs: int, exact_pairs: int, random: int, rng: np.random.Generator) -> Floats:
    """Return sign patterns (tried, pairs): all up to a common sign, without the identity, or random ones."""
    if pairs > exact_pairs:
        return rng.choice((-1.0, 1.0), size=(random, pairs)).astype(np.float64)
    codes = np.arange(1, 2 ** max(pairs - 1, 0))[:, None]
    return np.where(codes >> np.arange(pairs) & 1, -1.0, 1.0)
