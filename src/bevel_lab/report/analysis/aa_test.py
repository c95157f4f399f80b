"""The A/A test: real runs of one activation, split in two, make two arms that do not differ.

No two runs share a seed, so a difference between two of them is as likely as its opposite, and the judge should find
nothing in at least 95 of 100 splits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis.cells import ReportError
from bevel_lab.report.statistics import comparison, paired
from bevel_lab.report.statistics.arrays import Floats
from bevel_lab.report.statistics.bootstrap import bca
from bevel_lab.report.statistics.comparison import Comparison
from bevel_lab.report.statistics.sign_flips import sign_flip

Scores = dict[tuple[str, str], Floats]
"""An activation's scores by cell, in the order of the seeds."""


@dataclass(frozen=True)
class AATest:
    """The judge's verdicts on activations against themselves.

    Attributes:
        first: label → every second run against the runs between, as one experiment with two arms. The pairs of all
            cells stand side by side, and Holm covers the activations.
        splits: number of random splits of each activation's runs.
        single: share of all (split, activation) with a verdict of better or worse.
        family: share of splits with such a verdict on any activation, after Holm over all of them.
    """

    first: dict[str, Comparison]
    splits: int
    single: float
    family: float


def aa_test(records: Sequence[Record], splits: int, rng: np.random.Generator) -> AATest:
    """Split every activation's runs, cell by cell, into halves, and judge one against the other.

    Raises:
        ReportError: if an activation has too few runs for a verdict (a single activation needs six pairs).
    """
    found = _scores(records)
    names = list(found)
    first = comparison.as_family([_even_odd(scores) for scores in found.values()])
    for name, c in zip(names, first, strict=True):
        if c.pairs < c.needed:
            raise ReportError(
                f"an A/A test needs {c.needed} pairs of runs of every activation when it has {len(names)}, two runs a "
                f"pair; {name} has {c.pairs}."
            )
    rows = [_split(found[name], splits, rng) for name in names]
    p = np.stack([sign_flip(row, rng) for row in rows], axis=-1)
    bounds = [bca(row, rng, 1_999) for row in rows]
    low, high = (np.stack([one[i] for one in bounds], axis=-1) for i in (0, 1))
    least = np.array([2.0 ** (1 - row.shape[-1]) for row in rows])
    each = zip(p.T, low.T, high.T, least, strict=True)
    alone = [comparison.verdicts(a[:, None], b[:, None], c[:, None], one) for a, b, c, one in each]
    family = comparison.verdicts(paired.holm(p), low, high, least)
    return AATest(
        first=dict(zip(names, first, strict=True)),
        splits=splits,
        single=float(comparison.differs(np.concatenate(alone, axis=1)).mean()),
        family=float(comparison.differs(family).any(axis=1).mean()),
    )


def _scores(records: Sequence[Record]) -> dict[str, Scores]:
    """Label → scores; runs without a score are skipped."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for record in sorted(records, key=lambda r: (r.label, r.trial.cell, r.trial.seed)):
        score = record.test[record.metric]
        if math.isfinite(score):
            found.setdefault(record.label, {}).setdefault(record.trial.cell, []).append(score)
    if not found:
        raise ReportError("an A/A test needs records with scores; there are none.")
    return {label: {cell: np.array(v) for cell, v in by_cell.items()} for label, by_cell in found.items()}


def _even_odd(scores: Scores) -> Comparison:
    halves = [np.concatenate([row[i : len(row) // 2 * 2 : 2] for row in scores.values()]) for i in (0, 1)]
    again, once = (dict(enumerate(map(float, half))) for half in halves)
    return comparison.compare({"once": once, "again": again}, "once", np.random.default_rng(0))["again"]


def _split(scores: Scores, splits: int, rng: np.random.Generator) -> Floats:
    """Differences (splits, pairs) between random halves; each split skips one run of an odd number."""
    parts = []
    for row in scores.values():
        mixed = rng.permuted(np.tile(row, (splits, 1)), axis=1)
        half = len(row) // 2
        parts.append(mixed[:, :half] - mixed[:, half : 2 * half])
    return np.concatenate(parts, axis=1)
