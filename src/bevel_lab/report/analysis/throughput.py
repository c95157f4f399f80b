"""Training speed of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bevel_lab.experiment.record import Record

MOST = 1.1
"""Largest share of a plain loop's throughput that timing may show."""


def throughput(records: Sequence[Record]) -> float:
    """Training samples a second, median over trials."""
    return _median([r.samples / r.train_seconds for r in records if r.train_seconds > 0])


def share_of_plain_loop(records: Sequence[Record]) -> float:
    """Share of a plain training loop's throughput, median over trials; NaN if no trial timed one, or none well.

    A trial does all that the plain loop does: a share above :data:`MOST` says that the loop was held up by others.
    """
    timed = [r for r in records if r.train_seconds > 0 < r.bare_seconds]
    share = _median([r.bare_seconds * r.samples / r.train_seconds for r in timed])
    return share if share <= MOST else math.nan


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan
