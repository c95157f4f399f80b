"""Judge one arm against another: in every cell, and over all cells with one difference a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel_lab.report.analysis.across import pooled
from bevel_lab.report.analysis.cells import SEED, Cell, ReportError
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics import comparison
from bevel_lab.report.statistics.comparison import Comparison


@dataclass(frozen=True)
class Pair:
    """``arm`` against ``other`` in the cells that have both.

    Attributes:
        whole: comparison of the seeds' means over these cells; Holm covers all pairs that were asked for.
        cells: (cell, comparison in it); Holm covers the cells of this pair.
        diverged: (arm, how many of its runs diverged, how many there are), of an arm of which some did.
    """

    arm: str
    other: str
    metric: Metric
    whole: Comparison
    cells: tuple[tuple[str, Comparison], ...]
    diverged: tuple[tuple[str, int, int], ...] = ()


def judge_pairs(cells: Sequence[Cell], asked: Sequence[tuple[str, str]]) -> list[Pair]:
    """Judge each pair of arms (first against second).

    Raises:
        ReportError: if no cell has both arms of a pair, or their cells have no common unit.
    """
    made = [_pair(cells, *names) for names in asked]
    whole = comparison.as_family([pair.whole for pair in made])
    return [replace(pair, whole=c) for pair, c in zip(made, whole, strict=True)]


def _pair(cells: Sequence[Cell], name: str, other: str) -> Pair:
    arms = [(cell, {arm.name: arm for arm in cell.arms}) for cell in cells]
    both = [(cell, found[name], found[other]) for cell, found in arms if name in found and other in found]
    if not both:
        known = ", ".join(sorted({name for _, found in arms for name in found}))
        raise ReportError(f"no model and data set has both {name!r} and {other!r}; there are {known}.")
    if len({cell.metric for cell, *_ in both}) > 1:
        raise ReportError(f"{name} and {other} are judged by different metrics in different cells.")
    metric, margin = both[0][0].metric, max(c.margin for cell, *_ in both for _, c in cell.others)
    single = comparison.as_family([_compare(arm.scores, base.scores, metric, margin) for _, arm, base in both])
    whole = _compare(pooled([arm for _, arm, _ in both]), pooled([base for *_, base in both]), metric, margin)
    titles = [cell.title for cell, *_ in both]
    runs = {name: [arm for _, arm, _ in both], other: [base for *_, base in both]}
    counts = [(who, sum(len(a.diverged) for a in own), sum(len(a.runs) for a in own)) for who, own in runs.items()]
    diverged = tuple(count for count in counts if count[1])
    return Pair(name, other, metric, whole, tuple(zip(titles, single, strict=True)), diverged)


def _compare(scores: dict[int, float], base: dict[int, float], metric: Metric, margin: float) -> Comparison:
    both, rng = {"base": base, "arm": scores}, np.random.default_rng(SEED)
    return comparison.compare(both, "base", rng, margin, lower_is_better=metric.lower_is_better)["arm"]
