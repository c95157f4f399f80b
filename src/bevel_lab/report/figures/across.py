"""Figures of all cells together."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from bevel_lab.report.analysis.across import Across, Standing
from bevel_lab.report.figures import critical_difference, plots
from bevel_lab.report.figures.cell import View, drawn
from bevel_lab.report.figures.cost import cost_caption, cost_panels
from bevel_lab.report.figures.labels import short
from bevel_lab.report.figures.svg import Place, Style


def across_views(across: Across, prefix: str, phone: bool = False) -> list[View]:
    """Draw all figures that the records allow; for the arguments see :func:`cell_views`."""
    makers = {"differences": _differences, "ranks": _ranks, "cost": _cost}
    return drawn({name: partial(make, across) for name, make in makers.items()}, prefix, phone)


def _differences(across: Across, place: Place) -> View:
    ref, metric = across.reference.name, across.metric
    means, wins = [], []
    for standing, c in across.others:
        by_cell = [arm.comparison for arm in standing.arms if arm.comparison is not None]
        values = metric.scale * np.array([one.difference for one in by_cell])
        bounds = (metric.scale * c.difference, metric.scale * c.low, metric.scale * c.high)
        who, odd = (standing.name, Style(standing.index)), [False] * len(values)
        means.append(plots.Strip(*who, values, odd, *bounds))
        if standing.won is not None:
            won, shares = standing.won, 100 * np.array([one.improvement for one in by_cell])
            wins.append(plots.Strip(*who, shares, odd, 100 * won.value, 100 * won.low, 100 * won.high))
    panels = []
    if means:
        title = f"Mean difference to {short(ref)} over cells: 95 % interval"
        said = f"Mean paired difference to {short(ref)} over all cells, and in each of them."
        panels.append(plots.strips(means, place.heading("mean", title, said), xlabel=metric.difference, line=0.0))
    if wins:
        title = f"Probability of improvement on {short(ref)}: 95 % interval"
        said = f"Share of seeds on which an arm beats {short(ref)}, averaged over cells, and in each of them."
        panels.append(plots.strips(wins, place.heading("won", title, said), xlabel="pairs won (%)", line=50.0))
    caption = "A small dot is one cell, the large one the average over cells and the bar its interval over seeds."
    return View("Difference over all cells", caption, tuple(panels))


def _ranks(across: Across, place: Place) -> View:
    ranks = across.ranks
    title = "Average ranks"
    if ranks is None:
        return View(title, "", ())
    labels, styles = [s.name for s in across.standings], [Style(s.index) for s in across.standings]
    said = "Average rank of every arm over cells; bars join arms that ranks cannot tell apart."
    heading = place.heading("critical", "Average rank over cells", said)
    panel = critical_difference.diagram(ranks, labels, styles, heading)
    caption = "Every two arms differ in their ranks (Nemenyi's test at 5 %)"
    if ranks.groups:
        caption = "Arms that share a bar at the right cannot be told apart by their ranks (Nemenyi's test at 5 %)"
    if not ranks.possible:
        caption += f"; {len(across.cells)} cells are too few for any two to differ"
    return View(title, f"{caption}.", (panel,))


def _cost(across: Across, place: Place) -> View:
    metric, ref = across.metric, across.reference.name
    found = {"time": _points(across, lambda s: s.time), "memory": _points(across, lambda s: s.memory)}
    found = {kind: points if len(points) > 1 else [] for kind, points in found.items()}

    def describe(what: str) -> str:
        return f"Mean difference to {ref} over cells beside {what}, a geometric mean over cells."

    bars = f"95 % intervals of the difference{metric.points and f' in{metric.points}'}"
    panels = cost_panels(found, place, "Mean difference", describe, ref, metric.sign)
    return View(f"{metric.title} beside cost, over all cells", cost_caption(found, metric, bars), tuple(panels))


def _points(across: Across, read: Callable[[Standing], float]) -> list[plots.Point]:
    made, scale = [], across.metric.scale
    for s in across.standings:
        x, c = read(s), s.comparison
        mean, low, high = (c.difference, c.low, c.high) if c else (0.0, 0.0, 0.0)
        if math.isfinite(x) and math.isfinite(mean):
            made.append(plots.Point(s.name, Style(s.index), x, x, x, scale * mean, scale * low, scale * high))
    return made
