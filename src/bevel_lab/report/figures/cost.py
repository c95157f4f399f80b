"""Arms as points: what they gain beside what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.figures import plots
from bevel_lab.report.figures.labels import short
from bevel_lab.report.figures.svg import Place
from bevel_lab.report.statistics.aggregate import pareto


def cost_panels(
    found: Mapping[str, Sequence[plots.Point]],
    place: Place,
    gain: str,
    describe: Callable[[str], str],
    reference: str,
    sign: float,
) -> list[str]:
    """Draw one panel for time and one for memory, if there are points.

    ``describe`` gets the name of the cost; ``sign`` is −1 where lower is better.
    """
    kinds = {"time": "training time", "memory": "memory kept for backward"}
    return [
        plots.scatter(
            found[kind],
            place.heading(kind, f"{gain} by {what}", describe(what)),
            xlabel=f"{what}, × {short(reference)}",
            front=_front(found[kind], sign),
        )
        for kind, what in kinds.items()
        if found[kind]
    ]


def cost_caption(found: Mapping[str, Sequence[plots.Point]], metric: Metric, bars: str) -> str:
    """Say how to read :func:`cost_panels`; ``bars`` is what the bars are."""
    points = [point for kind in found.values() for point in kind]
    said = f"{metric.better} is better and left is cheaper"
    if any(p.y_low < p.y_high or p.x_low < p.x_high for p in points):
        said += f"; bars are {bars}"
    if any(len(_front(kind, metric.sign)) > 1 for kind in found.values()):
        said += "; the dotted line joins the arms that no other beats in both"
    return f"{said}."


def _front(points: Sequence[plots.Point], sign: float) -> list[int]:
    return pareto([p.x for p in points], [sign * p.y for p in points])
