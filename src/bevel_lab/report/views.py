"""What each figure of a cell shows, gathered from the records, and how it is to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.record import Epoch, Record, Site
from bevel_lab.report import figures
from bevel_lab.report.cells import Arm, Cell
from bevel_lab.report.stats import Floats


@dataclass(frozen=True)
class View:
    """A figure of the page: one or more panels, and one sentence on how to read them."""

    title: str
    caption: str
    panels: tuple[str, ...]
    small: bool = False  # small multiples rather than wide panels


def views(cell: Cell, prefix: str) -> list[View]:
    """All figures of a cell that its records allow; ``prefix`` makes their ids unique in the page."""
    makers = (_scores, _training, _shapes, _parameters, _cost)
    made = [maker(cell, f"{prefix}-{maker.__name__.strip('_')}") for maker in makers]
    return [view for view in made if view.panels]


def _scores(cell: Cell, name: str) -> View:
    metric, ref = cell.metric, cell.reference.name
    own, paired = [], []
    for arm in cell.arms:
        mean, sd = arm.summary.mean * metric.scale, arm.summary.sd * metric.scale
        own.append(_strip(arm, arm.scores, metric.scale, (mean, mean - sd, mean + sd), arm.diverged))
    for arm, c in cell.others:
        interval = (c.difference * metric.scale, c.low * metric.scale, c.high * metric.scale)
        odd = arm.diverged | cell.reference.diverged
        paired.append(_strip(arm, cell.differences(arm), metric.scale, interval, odd))
    panels = [
        figures.strips(
            own,
            name=f"{name}-own",
            title=f"Test {metric.name}",
            xlabel=metric.axis,
            description=f"Test {metric.name} of every run, with mean and standard deviation of each arm.",
        )
    ]
    if paired:
        panels.append(
            figures.strips(
                paired,
                name=f"{name}-paired",
                title=f"Difference to {ref}, seed by seed",
                xlabel=f"difference{' (points)' if metric.share else ''}",
                description=f"Paired differences to {ref} with their mean and 95 % interval.",
                zero=True,
            )
        )
    caption = (
        f"Every dot is one seed; the large mark is the mean, its bar ± 1 sd on the left and the 95 % BCa interval of "
        f"the paired difference on the right, where an arm whose bar clears the line at zero differs from {ref} "
        f"before adjustment for the number of arms."
    )
    if any(arm.diverged for arm in cell.arms):
        caption += " Crosses are diverged runs; an arrow points to one that lies outside the picture."
    return View(f"Test {metric.name}", caption, tuple(panels))


def _strip(
    arm: Arm, values: dict[int, float], scale: float, interval: tuple[float, float, float], odd: frozenset[int]
) -> figures.Strip:
    numbers = np.array(list(values.values()), dtype=np.float64) * scale
    return figures.Strip(arm.name, arm.style, numbers, [seed in odd for seed in values], *interval)


def _training(cell: Cell, name: str) -> View:
    key, metric = cell.metric.key, cell.metric
    loss = list(_lines(cell, lambda epoch: epoch.train.get("loss", math.nan)))
    validation = list(_lines(cell, lambda epoch: metric.scale * epoch.validation.get(key, math.nan)))
    panels = []
    if loss:
        panels.append(
            figures.curves(
                loss,
                name=f"{name}-loss",
                title="Training loss (log scale)",
                description="Mean training loss by epoch, one line an arm.",
                log=all((line.low > 0).all() for line in loss),
            )
        )
    if validation:
        panels.append(
            figures.curves(
                validation,
                name=f"{name}-validation",
                title=f"Validation {metric.axis}",
                description=f"Mean validation {metric.name} by epoch, one line an arm.",
                floor=_floor(validation),
            )
        )
    caption = (
        "Mean over seeds with a band of ± 1 sd; the axis on the right starts where the slowest arm stands after a "
        "quarter of the training, so that the end, which decides, has room."
    )
    return View("Training", caption, tuple(panels))


def _lines(cell: Cell, read: Callable[[Epoch], float]) -> Iterator[figures.Line]:
    """Mean ± sd over the seeds that have a number in that epoch; arms without any are left out."""
    for arm in cell.arms:
        runs = [[read(epoch) for epoch in run.epochs] for run in arm.runs.values()]
        table = np.array([run for run in runs if len(run) == len(max(runs, key=len))], dtype=np.float64)
        known = np.isfinite(table)
        if not known.any():
            continue
        count = known.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, table, 0).sum(axis=0) / count
            sd = np.sqrt(np.where(known, (table - mean) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1))
        low = np.maximum(mean - sd, np.where(known, table, np.inf).min(axis=0))  # no band below what was seen
        yield figures.Line(arm.name, arm.style, mean, low, mean + sd)


def _floor(lines: Sequence[figures.Line]) -> float | None:
    """The lowest mean after a quarter of the epochs, where cutting there spares at least half the height."""
    later = [line.low[len(line.low) // 4 :] for line in lines]
    bottom = min(float(np.nanmin(part)) for part in later if np.isfinite(part).any())
    lowest = min(float(np.nanmin(line.low)) for line in lines)
    top = max(float(np.nanmax(line.high)) for line in lines)
    return bottom - 0.03 * (top - bottom) if bottom - lowest > top - bottom else None


def _shapes(cell: Cell, name: str) -> View:
    shapes = [shape for arm in cell.arms if (shape := _shape(arm)) is not None]
    panels = [
        figures.shape(
            shape,
            name=f"{name}-{i}",
            limits=_curve_limits(shapes),
            description=f"{shape.label} before training (dotted) and after it at each site.",
        )
        for i, shape in enumerate(shapes)
    ]
    caption = (
        "Dotted: before training. Lines: after training, one a site (mean over seeds), darker with depth. Band: the "
        "lowest to the highest channel of any seed. An arm without learnable parameters keeps its curve."
    )
    return View("The activations, before and after training", caption, tuple(panels), small=True)


def _shape(arm: Arm) -> figures.Shape | None:
    """All seeds and sites of an arm on the first site's sample points."""
    groups = _by_site(arm, lambda site: bool(site.x))
    if not groups:
        return None
    x = _floats(next(iter(groups.values()))[0].x)

    def read(site: Site, curve: str) -> Floats:
        return np.interp(x, _floats(site.x), _floats(getattr(site, curve)))

    flat = [site for sites in groups.values() for site in sites]
    after = np.array([_mean([read(site, "curve_after") for site in sites]) for sites in groups.values()])
    return figures.Shape(
        label=arm.name,
        style=arm.style,
        x=x,
        before=_mean([read(site, "curve_before") for site in flat]),
        after=after,
        low=np.fmin.reduce([read(site, "curve_low") for site in flat]),
        high=np.fmax.reduce([read(site, "curve_high") for site in flat]),
    )


def _curve_limits(shapes: Sequence[figures.Shape]) -> tuple[float, float]:
    """Shared by all arms, so that they can be compared."""
    values = np.concatenate([np.concatenate([s.before, s.after.ravel()]) for s in shapes]) if shapes else np.zeros(1)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def _parameters(cell: Cell, name: str) -> View:
    panels = []
    for arm in cell.arms:
        groups = _by_site(arm, lambda site: bool(site.after))
        symbols = dict.fromkeys(symbol for sites in groups.values() for site in sites for symbol in site.after)
        for symbol in symbols:
            here = [[site for site in sites if symbol in site.after] for sites in groups.values()]
            here = [sites for sites in here if sites]
            spread = figures.Spread(
                label=arm.name,
                style=arm.style,
                sites=[np.concatenate([_floats(site.after[symbol]) for site in sites]) for sites in here],
                before=[float(np.mean([_floats(site.before[symbol]).mean() for site in sites])) for sites in here],
            )
            panels.append(
                figures.parameter(
                    spread,
                    name=f"{name}-{len(panels)}",
                    symbol=symbol,
                    description=f"{symbol} of {arm.name} at each site after training; dotted: before.",
                )
            )
    caption = (
        "Sites from input to output along the axis. Ring: median over channels and seeds; thick bar: the middle half; "
        "thin bar: 5 % to 95 %; dotted: the value before training."
    )
    return View("What was learnt, layer by layer", caption, tuple(panels), small=True)


def _by_site(arm: Arm, wanted: Callable[[Site], bool]) -> dict[str, list[Site]]:
    """Site name → that site in every run that did not diverge, in the order of the network."""
    groups: dict[str, list[Site]] = {}
    for seed, run in arm.runs.items():
        for site in run.sites if seed not in arm.diverged else ():
            if wanted(site):
                groups.setdefault(site.name, []).append(site)
    return groups


def _cost(cell: Cell, name: str) -> View:
    metric, ref = cell.metric, cell.reference.name

    def points(x: Callable[[Arm], tuple[float, float, float]]) -> list[figures.Point]:
        made = []
        for arm in cell.arms:
            mean, sd = arm.summary.mean * metric.scale, arm.summary.sd * metric.scale
            at = x(arm)
            if math.isfinite(at[0]) and math.isfinite(mean):
                sd = sd if math.isfinite(sd) and not arm.diverged else 0.0
                made.append(figures.Point(arm.name, arm.style, *at, mean, mean - sd, mean + sd))
        return made

    wanted = (
        ("time", f"Training time, × {ref}", points(lambda a: (a.cost.time, a.cost.time_low, a.cost.time_high))),
        ("memory", f"Memory kept for backward, × {ref}", points(lambda a: (a.cost.memory,) * 3)),
    )
    panels = [
        figures.scatter(
            found,
            name=f"{name}-{kind}",
            title=title,
            xlabel=f"× {ref}",
            ylabel=metric.axis,
            description=f"{title}, beside test {metric.name}, one point an arm.",
        )
        for kind, title, found in wanted
        if found
    ]
    caption = (
        f"Up is more accurate, left is cheaper; the vertical line is the cost of {ref}. Bars: ± 1 sd of the "
        f"{metric.name}, and the quartiles over seeds of the time for a training sample."
    )
    return View(f"Cost beside {metric.name}", caption, tuple(panels))


def throughput(records: Sequence[Record]) -> float:
    """Median training samples a second."""
    rates = [r.samples / r.train_seconds for r in records if r.train_seconds > 0]
    return float(np.median(rates)) if rates else math.nan


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)  # null, which is how the file writes NaN, becomes NaN


def _mean(curves: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(curves, axis=0)
    return mean
