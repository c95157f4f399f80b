"""Judge several cells together; their own verdicts stand.

There are three questions, each with its own family of tests, which is named where the verdict is printed:

- in a cell, which arms differ from the reference? Holm over the arms of the cell (``cells``);
- which of those verdicts stand when the whole report is one family? Holm over all arms of all cells;
- on average over the cells, which arms differ? One mean difference a seed, Holm over the arms. The mean is over these
  cells, each weighted alike, and says nothing about other cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.report.analysis.cells import SEED, Arm, Cell
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics import aggregate, comparison
from bevel_lab.report.statistics.aggregate import Estimate, Ranks
from bevel_lab.report.statistics.arrays import Floats, mean_of, unit_of
from bevel_lab.report.statistics.comparison import Comparison, Verdict
from bevel_lab.report.statistics.power import pairs_needed


@dataclass(frozen=True)
class Standing:
    """An arm over all cells. The reference has no ``comparison``, ``iqm`` and ``won``.

    Attributes:
        index: as in the cells.
        arms: the arm in each cell, in the cells' order.
        comparison: the seeds' mean scores over all cells, compared with the reference's.
        iqm: interquartile mean of the paired differences of all cells.
        won: probability of improvement, averaged over cells.
        rank: average rank over cells; NaN if an arm has no score in some cell.
        time, memory: cost as a multiple of the reference, geometric mean over cells; NaN if unknown.
    """

    name: str
    index: int
    arms: tuple[Arm, ...]
    comparison: Comparison | None
    iqm: Estimate | None
    won: Estimate | None
    rank: float
    time: float
    memory: float


@dataclass(frozen=True)
class Across:
    """All cells of a report together.

    Attributes:
        standings: the arms that ran in every cell, the reference first, then the highest mean difference first.
        partial: names of the arms that did not.
        family: (cell's title, arm) → p after Holm over all arms of all cells, and the verdict that follows.
        needed: pairs from which a verdict is possible in that family.
        ranks: ranks of ``standings``, in their order; None if an arm has no score in some cell.
    """

    cells: tuple[Cell, ...]
    standings: tuple[Standing, ...]
    partial: tuple[str, ...]
    family: dict[tuple[str, str], tuple[float, Verdict]]
    needed: int
    ranks: Ranks | None

    @property
    def metric(self) -> Metric:
        return self.cells[0].metric

    @property
    def reference(self) -> Standing:
        return self.standings[0]

    @property
    def others(self) -> tuple[tuple[Standing, Comparison], ...]:
        return tuple((s, s.comparison) for s in self.standings if s.comparison is not None)


def judge_across(cells: Sequence[Cell]) -> Across | None:
    """Judge the cells together. Returns None if there is only one, or if their scores have no common unit."""
    if len(cells) < 2 or len({cell.metric for cell in cells}) > 1:
        return None
    rng = np.random.default_rng(SEED)
    names = list(dict.fromkeys(arm.name for cell in cells for arm in cell.arms))
    by_name = [{arm.name: arm for arm in cell.arms} for cell in cells]
    whole = {name: tuple(arms[name] for arms in by_name) for name in names if all(name in arms for arms in by_name)}
    reference = cells[0].reference.name
    metric, margin = cells[0].metric, _margin(cells)
    means = {name: pooled(arms) for name, arms in whole.items()}
    comparisons = comparison.compare(means, reference, rng, margin, lower_is_better=metric.lower_is_better)
    ordered = {
        name: whole[name] for name in sorted(whole, key=lambda name: _place(name, comparisons.get(name), metric))
    }
    ranked = _ranks(list(ordered.values()), metric)
    standings = [
        _standing(arms, cells, comparisons.get(name), float(ranked.mean[i]) if ranked else math.nan, rng)
        for i, (name, arms) in enumerate(ordered.items())
    ]
    family = _family(cells)
    return Across(
        cells=tuple(cells),
        standings=tuple(standings),
        partial=tuple(name for name in names if name not in whole),
        family=family,
        needed=pairs_needed(max(1, len(family))),
        ranks=ranked,
    )


def pooled(arms: Sequence[Arm]) -> dict[int, float]:
    """Seed → mean score over the cells, for seeds that ran in all of them; NaN if one has no score."""
    seeds = set.intersection(*(set(arm.scores) for arm in arms))
    return {seed: mean_of(np.array([arm.scores[seed] for arm in arms])) for seed in sorted(seeds)}


def strata(arms: Sequence[Arm], cells: Sequence[Cell]) -> list[Floats]:
    """Paired differences to the reference, one array a cell, without pairs that lack a score."""
    rows = [np.array(list(cell.differences(arm).values())) for arm, cell in zip(arms, cells, strict=True)]
    return [row[np.isfinite(row)] for row in rows]


def _standing(
    arms: tuple[Arm, ...], cells: Sequence[Cell], comparison: Comparison | None, rank: float, rng: np.random.Generator
) -> Standing:
    found = strata(arms, cells) if comparison else []
    known, sign = bool(found) and all(row.size for row in found), cells[0].metric.sign
    unit = unit_of(np.concatenate(found)) if known else 1.0
    found = [row / unit for row in found]
    return Standing(
        name=arms[0].name,
        index=arms[0].index,
        arms=arms,
        comparison=comparison,
        iqm=aggregate.stratified(found, aggregate.iqm, rng).times(unit) if known else None,
        won=aggregate.stratified([sign * row for row in found], aggregate.won, rng) if known else None,
        rank=rank,
        time=_geometric([arm.cost.time for arm in arms]),
        memory=_geometric([arm.cost.memory for arm in arms]),
    )


def _place(name: str, c: Comparison | None, metric: Metric) -> tuple[bool, float, str]:
    return c is not None, -metric.sign * c.difference if c and math.isfinite(c.difference) else math.inf, name


def _margin(cells: Sequence[Cell]) -> float:
    """The margin of the cells' comparisons, which all have one."""
    return max((c.margin for cell in cells for _, c in cell.others), default=0.0)


def _geometric(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios)))) if all(r > 0 for r in ratios) else math.nan


def _ranks(arms: Sequence[Sequence[Arm]], metric: Metric) -> Ranks | None:
    means = metric.sign * np.array([[arm.summary.mean for arm in row] for row in arms]).T
    return aggregate.ranks(means) if len(arms) > 1 and np.isfinite(means).all() else None


def _family(cells: Sequence[Cell]) -> dict[tuple[str, str], tuple[float, Verdict]]:
    keys = [(cell.title, arm.name) for cell in cells for arm, _ in cell.others]
    family = comparison.as_family([c for cell in cells for _, c in cell.others])
    return {key: (c.adjusted, c.verdict) for key, c in zip(keys, family, strict=True)}
