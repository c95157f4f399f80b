"""Figures of a cell: what they show, gathered from the records, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest

import numpy as np

from bevel_lab.experiment.record import Epoch, Site
from bevel_lab.report.analysis.cells import Arm, Cell
from bevel_lab.report.figures import plots
from bevel_lab.report.figures.cost import cost_caption, cost_panels
from bevel_lab.report.figures.labels import short
from bevel_lab.report.figures.svg import PHONE, Place, Style
from bevel_lab.report.statistics.arrays import Floats

FEW_EPOCHS = 10
"""Fewer have no tenth."""


@dataclass(frozen=True)
class View:
    """A figure of the page: one or more panels, and one sentence on how to read them.

    Attributes:
        small: whether the panels are small multiples, which fit any page.
        phone: the panels once more, drawn for a phone's page, if they were asked for.
    """

    title: str
    caption: str
    panels: tuple[str, ...]
    small: bool = False
    phone: tuple[str, ...] = ()


def cell_views(cell: Cell, prefix: str, wanted: Sequence[str] = (), phone: bool = False) -> list[View]:
    """Draw all figures that the cell's records allow.

    Args:
        cell: what to draw.
        prefix: makes the figures' ids unique in the page.
        wanted: some of scores, training, shapes, parameters and cost; () means all.
        phone: whether they are drawn for a phone's page, too.
    """
    makers = {"scores": _scores, "training": _training, "shapes": _shapes, "parameters": _parameters, "cost": _cost}
    return drawn({name: partial(makers[name], cell) for name in wanted or makers}, prefix, phone)


def drawn(makers: Mapping[str, Callable[[Place], View]], prefix: str, phone: bool) -> list[View]:
    """Draw the views, without panels that could not be drawn, and without views that have none left."""
    views = []
    for name, make in makers.items():
        view = make(Place(f"{prefix}-{name}"))
        narrow = make(Place(f"{prefix}-{name}-phone", PHONE)).panels if phone and not view.small else ()
        panels, narrow = (tuple(filter(None, some)) for some in (view.panels, narrow))
        views += [replace(view, panels=panels, phone=narrow)] if panels else []
    return views


def _scores(cell: Cell, place: Place) -> View:
    metric, ref = cell.metric, cell.reference.name
    own = []
    paired = [_strip(cell.reference, {}, 1.0, (0.0, 0.0, 0.0), frozenset())]  # an empty row keeps both panels level
    for arm in cell.arms:
        mean, sd = arm.summary.mean * metric.scale, arm.summary.sd * metric.scale
        own.append(_strip(arm, arm.scores, metric.scale, (mean, mean - sd, mean + sd), arm.diverged))
    for arm, c in cell.others:
        interval = (c.difference * metric.scale, c.low * metric.scale, c.high * metric.scale)
        odd = arm.diverged | cell.reference.diverged
        paired.append(_strip(arm, cell.differences(arm), metric.scale, interval, odd))
    said = f"Test {metric.name} of every run, with mean and standard deviation of each arm."
    panels = [plots.strips(own, place.heading("own", "Every run: mean ± 1 sd", said), xlabel=f"test {metric.axis}")]
    if cell.others:
        title = f"Difference to {short(ref)} on the same seed: mean and 95 % interval"
        if any(not c.paired for _, c in cell.others):
            title = f"Difference to {short(ref)}: mean and 95 % interval"
        said = f"Differences to {ref} with their mean and 95 % interval."
        panels.append(plots.strips(paired, place.heading("paired", title, said), xlabel=metric.difference, line=0.0))
    return View(f"Test {metric.name}", _scores_caption(cell), tuple(panels))


def _scores_caption(cell: Cell) -> str:
    said = "A small dot is one run and the large one the mean" if len(cell.seeds) > 1 else "A dot is one run"
    if any(math.isfinite(c.low) for _, c in cell.others):
        said += (
            f"; an arm whose interval reaches the line at zero cannot be told from {cell.reference.name}, and one "
            "whose interval clears it must still pass the adjusted test"
        )
    scored = [score for arm in cell.arms for seed, score in arm.scores.items() if seed in arm.diverged]
    if any(map(math.isfinite, scored)):
        said += "; crosses are diverged runs, arrows those outside the picture"
    return f"{said}."


def _strip(
    arm: Arm, values: dict[int, float], scale: float, interval: tuple[float, float, float], odd: frozenset[int]
) -> plots.Strip:
    numbers = np.array(list(values.values()), dtype=np.float64) * scale
    return plots.Strip(arm.name, Style(arm.index), numbers, [seed in odd for seed in values], *interval)


def _training(cell: Cell, place: Place) -> View:
    key, metric = cell.metric.key, cell.metric
    loss = list(_lines(cell, lambda epoch: epoch.train.get("loss", math.nan)))
    validation = list(_lines(cell, lambda epoch: metric.scale * epoch.validation.get(key, math.nan)))
    log, floor = _positive(loss), _floor(validation)
    panels = []
    if loss:
        title = "Training loss (log scale)" if log else "Training loss"
        heading = place.heading("loss", title, "Mean training loss by epoch, one line an arm.")
        panels.append(plots.curves(loss, heading, log=log))
    if validation:
        said = f"Mean validation {metric.name} by epoch, one line an arm."
        heading = place.heading("validation", f"Validation {metric.axis}", said)
        panels.append(plots.curves(validation, heading, floor=floor))
    bands = any(bool((line.high > line.low).any()) for line in (*loss, *validation))
    caption = "Lines are means over seeds and bands ± 1 sd" if bands else "A line is an arm's mean over its seeds"
    if floor is not None:
        caption += f"; the {metric.name} axis leaves out the first quarter of the training, to give the end room"
    return View("Training", f"{caption}{_end(cell, validation)}.", tuple(panels))


def _end(cell: Cell, lines: Sequence[plots.Line]) -> str:
    """Say how much the validation metric still changed at the end, mean over the arms; "" for few epochs."""
    means = [line.middle for line in lines if len(line.middle) >= FEW_EPOCHS]
    changes = _finite([np.array([mean[-1] - mean[-1 - len(mean) // 10] for mean in means])])
    if not changes.size:
        return ""
    return (
        f"; over the last tenth of the epochs validation {cell.metric.name} changed by {np.mean(changes):+.2f}"
        f"{cell.metric.points}, mean over the arms, though a learning rate that ends at 0 flattens the end"
    ).replace("-", "−")


def _lines(cell: Cell, read: Callable[[Epoch], float]) -> Iterator[plots.Line]:
    """Yield mean ± sd over the seeds that have a number in an epoch; arms without numbers are skipped."""
    for arm in cell.arms:
        # a compact record keeps only its last epoch, which is no curve
        whole = [run for run in arm.runs.values() if len(run.epochs) > 1 or run.trial.epochs == 1]
        runs = [[read(epoch) for epoch in run.epochs] for run in whole]
        table = np.array(list(zip_longest(*runs, fillvalue=math.nan)), dtype=np.float64).T
        table[np.abs(table) > plots.DRAWABLE] = np.nan
        known = np.isfinite(table)
        if not known.any():
            continue
        count = known.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, table, 0).sum(axis=0) / count
            sd = np.sqrt(np.where(known, (table - mean) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1))
        low = np.maximum(mean - sd, np.where(known, table, np.inf).min(axis=0))  # the band stays within
        high = np.minimum(mean + sd, np.where(known, table, -np.inf).max(axis=0))  # what was measured
        yield plots.Line(arm.name, Style(arm.index), mean, low, high)


def _positive(lines: Sequence[plots.Line]) -> bool:
    return all((line.low[np.isfinite(line.low)] > 0).all() for line in lines)


def _floor(lines: Sequence[plots.Line]) -> float | None:
    """Return the lowest value after a quarter of the epochs, if a cut there spares at least half the height."""
    all_of_it = _finite([line.low for line in lines])
    later = _finite([line.low[len(line.low) // 4 :] for line in lines])
    top = _finite([line.high for line in lines])
    if not later.size or later.min() - all_of_it.min() <= top.max() - later.min():
        return None
    return float(later.min() - 0.03 * (top.max() - later.min()))


def _shapes(cell: Cell, place: Place) -> View:
    shapes = [shape for arm in cell.arms if (shape := _shape(arm)) is not None]
    limits, panels = _curve_limits(shapes), []
    for i, shape in enumerate(shapes):
        said = f"{shape.label} before training (dotted) and after it at each site."
        panels.append(plots.shape(shape, place.heading(i, short(shape.label, 30), said), limits))
    caption = "The dotted curve is the activation before training, the lines are its sites after it"
    if any(len(shape.after) > 1 for shape in shapes):
        caption += " (mean over seeds, darker with depth)"
    if any(bool((shape.high - shape.low > 1e-9 * (1 + np.abs(shape.low))).any()) for shape in shapes):
        caption += ", and the band runs from the lowest to the highest channel of any seed"
    return View("The activations, before and after training", f"{caption}.", tuple(panels), small=True)


def _shape(arm: Arm) -> plots.Shape | None:
    """Interpolate all seeds and sites of an arm at the first site's sample points."""
    groups = _by_site(arm, lambda site: bool(site.x))
    if not groups:
        return None
    x = _floats(next(iter(groups.values()))[0].x)

    def read(site: Site, curve: str) -> Floats:
        return np.interp(x, _floats(site.x), _floats(getattr(site, curve)))

    flat = [site for sites in groups.values() for site in sites]
    after = np.array([_mean([read(site, "curve_after") for site in sites]) for sites in groups.values()])
    return plots.Shape(
        label=arm.name,
        style=Style(arm.index),
        x=x,
        before=_mean([read(site, "curve_before") for site in flat]),
        after=after,
        low=np.fmin.reduce([read(site, "curve_low") for site in flat]),
        high=np.fmax.reduce([read(site, "curve_high") for site in flat]),
    )


def _curve_limits(shapes: Sequence[plots.Shape]) -> tuple[float, float]:
    """Return limits that all arms share, so that they can be compared."""
    values = _finite([np.concatenate([s.before, s.after.ravel()]) for s in shapes])
    bands = _finite([np.concatenate([s.low, s.high]) for s in shapes])
    if not values.size or not bands.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = 0.3 * (high - low) or 0.5  # for the bands; an extreme channel may leave the picture
    return max(low - room, min(low, float(bands.min())) - 0.1), min(high + room, max(high, float(bands.max())) + 0.1)


def _parameters(cell: Cell, place: Place) -> View:
    panels: list[str] = []
    for arm in cell.arms:
        groups = _by_site(arm, lambda site: bool(site.after))
        symbols = dict.fromkeys(symbol for sites in groups.values() for site in sites for symbol in site.after)
        for symbol in symbols:
            here = [[site for site in sites if symbol in site.after] for sites in groups.values()]
            here = [sites for sites in here if sites]
            spread = plots.Spread(
                label=arm.name,
                style=Style(arm.index),
                sites=[np.concatenate([_floats(site.after[symbol]) for site in sites]) for sites in here],
                before=[float(np.mean([_floats(site.before[symbol]).mean() for site in sites])) for sites in here],
            )
            title = f"{short(arm.name)} · {short(symbol, 14)}"
            said = f"{symbol} of {arm.name} at each site after training; dotted: before."
            panels.append(plots.parameter(spread, place.heading(len(panels), title, said)))
    caption = (
        "Sites run from input to output; the ring is the median over channels and seeds, the thick bar the middle "
        "half, the thin one 5 % to 95 %, and the dotted line the value before training."
    )
    return View("What was learned, layer by layer", caption, tuple(panels), small=True)


def _by_site(arm: Arm, wanted: Callable[[Site], bool]) -> dict[str, list[Site]]:
    """Site name → the site in every run that did not diverge, in the order of the network."""
    groups: dict[str, list[Site]] = {}
    for seed, run in arm.runs.items():
        for site in run.sites if seed not in arm.diverged else ():
            if wanted(site):
                groups.setdefault(site.name, []).append(site)
    return groups


def _cost(cell: Cell, place: Place) -> View:
    metric, ref = cell.metric, cell.reference.name

    def points(x: Callable[[Arm], tuple[float, float, float]]) -> list[plots.Point]:
        made = []
        for arm in cell.arms:
            mean, sd = arm.summary.mean * metric.scale, arm.summary.sd * metric.scale
            at = x(arm)
            if math.isfinite(at[0]) and math.isfinite(mean):
                sd = sd if math.isfinite(sd) and not arm.diverged else 0.0
                made.append(plots.Point(arm.name, Style(arm.index), *at, mean, mean - sd, mean + sd))
        return made

    found = {
        "time": points(lambda arm: (arm.cost.time, arm.cost.time_low, arm.cost.time_high)),
        "memory": points(lambda arm: (arm.cost.memory,) * 3),
    }

    def describe(what: str) -> str:
        return f"Test {metric.name} of every arm beside its {what} as a multiple of {ref}."

    panels = cost_panels(found, place, f"Test {metric.axis}", describe, ref, metric.sign)
    bars = f"± 1 sd of the {metric.name} and the quartiles over seeds of the time for a training sample"
    caption = cost_caption(found, metric, bars)
    return View(f"Cost beside {metric.name}", caption, tuple(panels))


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)


def _finite(parts: Sequence[Floats]) -> Floats:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return values[np.isfinite(values)]


def _mean(curves: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(curves, axis=0)
    return mean
