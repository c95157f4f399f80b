"""The figures of the section on all cells together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bevel_lab.report.analysis.across import Across, Standing
from bevel_lab.report.figures import critical_difference, plots
from bevel_lab.report.figures.cell import View
from bevel_lab.report.figures.svg import Style
from bevel_lab.report.statistics.aggregate import pareto


def views(across: Across, prefix: str) -> list[View]:
    """All figures over cells that the records allow; ``prefix`` makes their ids unique in the page."""
    makers = (_differences, _ranks, _cost)
    made = [maker(across, f"{prefix}-{maker.__name__.strip('_')}") for maker in makers]
    return [view for view in made if view.panels]


def _differences(across: Across, name: str) -> View:
    ref, metric = plots.short(across.reference.name), across.metric
    means, wins = [], []
    for standing, c in across.others:
        pairs = zip(across.cells, standing.arms, strict=True)
        by_cell = [arm.comparison for _, arm in pairs if arm.comparison is not None]
        values = metric.scale * np.array([one.difference for one in by_cell])
        bounds = (metric.scale * c.difference, metric.scale * c.low, metric.scale * c.high)
        odd = [False] * len(values)
        means.append(plots.Strip(standing.name, Style(standing.index), values, odd, *bounds))
        if standing.won is not None:
            won, shares = standing.won, 100 * np.array([one.improvement for one in by_cell])
            bounds = (100 * won.value, 100 * won.low, 100 * won.high)
            wins.append(plots.Strip(standing.name, Style(standing.index), shares, odd, *bounds))
    panels = []
    if means:
        panels.append(
            plots.strips(
                means,
                name=f"{name}-mean",
                title=f"Mean difference to {ref} over cells: 95 % interval",
                xlabel=f"difference{' (points)' if metric.share else ''}",
                description=f"Mean paired difference to {ref} over all cells, and in each of them.",
                line=0.0,
            )
        )
    if wins:
        panels.append(
            plots.strips(
                wins,
                name=f"{name}-won",
                title=f"Probability of improvement on {ref}: 95 % interval",
                xlabel="pairs won (%)",
                description=f"Share of seeds on which an arm beats {ref}, averaged over cells, and in each of them.",
                line=50.0,
            )
        )
    caption = "A small dot is one cell, the large one the average over cells and the bar its interval over seeds."
    return View("Difference over all cells", caption, tuple(panels))


def _ranks(across: Across, name: str) -> View:
    ranks = across.ranks
    title = "Average ranks"
    if ranks is None:
        return View(title, "", ())
    panel = critical_difference.critical_difference(
        ranks,
        [s.name for s in across.standings],
        [Style(s.index) for s in across.standings],
        name=f"{name}-critical",
        title="Average rank over cells",
        description="Average rank of every arm over cells; bars join arms that ranks cannot tell apart.",
    )
    caption = "Arms that share a bar at the right cannot be told apart by their ranks (Nemenyi's test at 5 %)"
    if not ranks.possible:
        caption += f"; {len(across.cells)} cells are too few for any two to differ"
    return View(title, f"{caption}.", (panel,))


def _cost(across: Across, name: str) -> View:
    metric, ref = across.metric, across.reference.name
    kinds: tuple[tuple[str, str, Callable[[Standing], float]], ...] = (
        ("time", "training time", lambda s: s.time),
        ("memory", "memory kept for backward", lambda s: s.memory),
    )
    panels = []
    for kind, what, read in kinds:
        points = _points(across, read)
        if len(points) > 1:
            panels.append(
                plots.scatter(
                    points,
                    name=f"{name}-{kind}",
                    title=f"Mean difference by {what}",
                    xlabel=f"{what}, × {ref}",
                    description=f"Mean difference to {ref} over cells beside {what}, a geometric mean over cells.",
                    front=pareto([p.x for p in points], [p.y for p in points]),
                )
            )
    caption = (
        f"Up is better and left is cheaper; bars are 95 % intervals of the difference{metric.points and ' in points'}, "
        f"and the dotted line joins the arms that no other beats in both."
    )
    return View(f"{metric.name.capitalize()} beside cost, over all cells", caption, tuple(panels))


def _points(across: Across, read: Callable[[Standing], float]) -> list[plots.Point]:
    made, scale = [], across.metric.scale
    for s in across.standings:
        x, c = read(s), s.comparison
        mean, low, high = (c.difference, c.low, c.high) if c else (0.0, 0.0, 0.0)
        if math.isfinite(x) and math.isfinite(mean):
            made.append(plots.Point(s.name, Style(s.index), x, x, x, scale * mean, scale * low, scale * high))
    return made
