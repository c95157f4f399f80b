"""What was measured beside the score: every measure judged like a score, and churn, which has no value a seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.report.analysis.cells import SEED, Arm, Cell, make_cell
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics.bootstrap import LEAST_FOR_INTERVAL, bca

LOWER_IS_BETTER = {
    "calibration_error": True,
    "noise_accuracy": False,
    "fgsm_accuracy": False,
    "int8_accuracy": False,
    "dead_units": True,
}
"""Measures of a record, shares of one → whether lower is better."""


def measures(cell: Cell) -> list[Cell]:
    """Return a cell for every measure that the reference's records have, with the arms of ``cell``."""
    found = []
    for key, lower in LOWER_IS_BETTER.items():
        if not any(key in record.measures for record in cell.reference.runs.values()):
            continue
        scores = {a.name: {seed: r.measures.get(key, math.nan) for seed, r in a.runs.items()} for a in cell.arms}
        indices = {arm.name: arm.index for arm in cell.arms}
        place = cell.dataset, cell.model
        found.append(make_cell(place, Metric(key, True, lower), scores, indices, cell.reference.name))
    return found


def inference(arm: Arm) -> dict[str, float]:
    """Return by runtime the seconds for a sample, the median over the runs that were timed."""
    timed = [record.inference for record in arm.runs.values()]
    names = dict.fromkeys(name for one in timed for name in one)
    return {name: float(np.median([one[name] for one in timed if name in one])) for name in names}


@dataclass(frozen=True)
class Churn:
    """Disagreement between the runs of an arm.

    Attributes:
        arm: its name.
        runs: runs whose predictions are known.
        share: share of the test samples on which two runs disagree, mean over all pairs of runs.
        low, high: 95 % interval over seeds; NaN for fewer than five runs.
    """

    arm: str
    runs: int
    share: float
    low: float
    high: float


def churns(cell: Cell, classes: Mapping[str, Sequence[int]]) -> list[Churn]:
    """Return the churn of every arm with predictions of two runs or more; ``classes`` has them by digest."""
    known = [(arm.name, [classes[r.predictions] for r in arm.runs.values() if r.predictions in classes]) for arm in
             cell.arms]  # fmt: skip
    return [churn(name, runs) for name, runs in known if len(runs) > 1]


def churn(arm: str, runs: Iterable[Sequence[int]]) -> Churn:
    """Return the mean disagreement over pairs of runs, with the interval of its jackknife's pseudo-values.

    The mean of all pairs without a run tells what that run contributes; such contributions are judged like scores.
    """
    table = np.array([np.asarray(run) for run in runs])
    count = len(table)
    apart = np.array([(table != run).mean(axis=1) for run in table])  # runs×runs, 0 on the diagonal
    total = apart.sum() / 2
    share = total / (count * (count - 1) / 2)
    if count < LEAST_FOR_INTERVAL:
        return Churn(arm, count, float(share), math.nan, math.nan)
    without = (total - apart.sum(axis=1)) / ((count - 1) * (count - 2) / 2)
    low, high = bca(count * share - (count - 1) * without, np.random.default_rng(SEED))
    return Churn(arm, count, float(share), float(low), float(high))
