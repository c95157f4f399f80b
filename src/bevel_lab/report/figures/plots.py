"""The kinds of figures. Each function draws numbers that were computed before, and returns SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bevel_lab.report.figures.labels import label_ends, label_points, margin_for, short
from bevel_lab.report.figures.svg import INK, LINE, MUTED, PAPER, Heading, Style, canvas, export
from bevel_lab.report.statistics.arrays import Floats

SMALL = 220  # pixels of a small multiple
DRAWABLE = 1e150  # larger numbers leave no room for an axis around them; a figure of them is ""


@dataclass(frozen=True)
class _Arm:
    """The arm that a mark in a figure belongs to."""

    label: str
    style: Style


@dataclass(frozen=True)
class Strip(_Arm):
    """A row of dots: one number a seed, their mean and an interval; ``odd`` dots are drawn as crosses."""

    values: Floats
    odd: Sequence[bool]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Line(_Arm):
    """A curve over epochs with a band."""

    middle: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Shape(_Arm):
    """An activation's curves: before training, after it at every site, and the range over channels and seeds."""

    x: Floats
    before: Floats
    after: Floats  # (sites, points), shallow to deep
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Spread(_Arm):
    """A learned parameter: per site the values over channels and seeds, and where they started."""

    sites: Sequence[Floats]
    before: Sequence[float]


@dataclass(frozen=True)
class Point(_Arm):
    """A place in the plane, with horizontal and vertical extent."""

    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


def strips(rows: Sequence[Strip], heading: Heading, *, xlabel: str, line: float | None = None) -> str:
    """Draw one row an arm. Crosses outside the others' range stand at the edge as arrows. A vertical line marks
    ``line``, which is always in the picture."""
    if not _drawable(*(np.append(row.values, (row.low, row.high)) for row in rows)):
        return ""
    labels = [row.label for row in rows]
    top, left = heading.height, margin_for(labels, heading.letters)
    with canvas(heading.width, 36 + top + 26 * len(rows), left=left, right=16, top=top, bottom=38) as ax:
        low, high = _strip_limits(rows, line)
        if line is not None:
            ax.axvline(line, color=MUTED, lw=1)
        for y, row in enumerate(rows):
            _strip(ax, y, row, (low, high))
        ax.set(xlim=(low, high), ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        name_rows(ax, labels, heading.letters)
        return finish(ax, heading)


def curves(lines: Sequence[Line], heading: Heading, *, log: bool = False, floor: float | None = None) -> str:
    """Draw curves over epochs, each named at its right end. ``floor`` cuts off what lies below."""
    if not _drawable(*(line.middle for line in lines)):
        return ""
    right, top = 12 + margin_for([line.label for line in lines], heading.letters), heading.height + 2
    with canvas(heading.width, 282 + top, left=40, right=right, top=top, bottom=40) as ax:
        for line in lines:
            epochs = np.arange(1, len(line.middle) + 1)
            dot = "o" if len(epochs) == 1 else None
            ax.fill_between(epochs, line.low, line.high, color=line.style.color, alpha=0.10, lw=0)
            ax.plot(epochs, line.middle, color=line.style.color, ls=line.style.dash, marker=dot, ms=4, lw=1.6)
        if log:
            _log_axis(ax)
        ax.margins(x=0.01, y=0.04)
        if floor is not None:
            ax.set_ylim(bottom=floor)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y")
        label_ends(ax, [(line.label, line.style, line.middle) for line in lines], heading.letters)
        return finish(ax, heading)


def shape(panel: Shape, heading: Heading, limits: tuple[float, float]) -> str:
    """Draw one activation before and after training."""
    if not _drawable(panel.before, panel.after, panel.low, panel.high):
        return ""
    with canvas(SMALL, 180, left=26, right=8, top=26, bottom=24) as ax:
        ax.axhline(0, color=LINE, lw=0.8)
        ax.axvline(0, color=LINE, lw=0.8)
        ax.fill_between(panel.x, panel.low, panel.high, color=panel.style.color, alpha=0.18, lw=0)
        shades = np.linspace(0.45, 1, len(panel.after))
        for curve, alpha in zip(panel.after, shades, strict=True):
            ax.plot(panel.x, curve, color=panel.style.color, lw=1.6, alpha=float(alpha))
        ax.plot(panel.x, panel.before, color=INK, lw=1.2, ls=(0, (1, 2)))
        ax.set(xlim=(panel.x[0], panel.x[-1]), ylim=limits)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        return finish(ax, heading)


def parameter(panel: Spread, heading: Heading) -> str:
    """Draw one learned parameter over the depth of the network."""
    known = np.concatenate([*panel.sites, np.asarray(panel.before, dtype=np.float64)])
    known = known[np.isfinite(known)]
    if not _drawable(known):
        return ""
    with canvas(SMALL, 180, left=44, right=8, top=26, bottom=24) as ax:
        for x, (values, before) in enumerate(zip(panel.sites, panel.before, strict=True), start=1):
            ax.plot([x - 0.34, x + 0.34], [before, before], color=INK, lw=1.2, ls=(0, (1, 1.6)))
            finite = values[np.isfinite(values)]
            if finite.size:
                lowest, low, middle, high, highest = np.percentile(finite, (5, 25, 50, 75, 95))
                ax.plot([x, x], [lowest, highest], color=panel.style.color, lw=1.4)
                ax.plot([x, x], [low, high], color=panel.style.color, lw=6, solid_capstyle="butt", alpha=0.75)
                ax.plot([x], [middle], "o", color=PAPER, mec=panel.style.color, mew=1.4, ms=5)
        if known.size and known.min() > 0 and known.max() > 30 * known.min():
            _log_axis(ax)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.margins(y=0.08)
        ax.set_xlim(0.4, len(panel.sites) + 0.6)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.grid(axis="y")
        return finish(ax, heading)


def scatter(points: Sequence[Point], heading: Heading, *, xlabel: str, front: Sequence[int] = ()) -> str:
    """Draw arms as points, each with its name. A line marks x = 1, the reference's cost; a dotted line joins the
    points of ``front``, from the left."""
    if not _drawable(np.array([(p.x_low, p.x_high, p.y_low, p.y_high) for p in points])):
        return ""
    top = heading.height + 2
    with canvas(heading.width, 282 + top, left=40, right=16, top=top, bottom=40) as ax:
        ax.axvline(1, color=MUTED, lw=0.8)
        for p in points:
            ax.plot([p.x_low, p.x_high], [p.y, p.y], color=p.style.color, lw=1, alpha=0.55)
            ax.plot([p.x, p.x], [p.y_low, p.y_high], color=p.style.color, lw=1, alpha=0.55)
        for p in points:
            ax.plot([p.x], [p.y], "o", color=p.style.color, mec=PAPER, mew=0.8, ms=8)
        ax.plot([points[i].x for i in front], [points[i].y for i in front], color=MUTED, lw=1, ls=(0, (1, 2)), zorder=1)
        ax.margins(0.12, 0.08)
        ax.set_xlabel(xlabel)
        ax.grid()
        label_points(ax, [(p.label, p.x, p.y) for p in points], heading.letters)
        return finish(ax, heading)


def _drawable(*parts: Floats) -> bool:
    return all(bool((np.abs(part[np.isfinite(part)]) <= DRAWABLE).all()) for part in parts)


def _strip_limits(rows: Sequence[Strip], line: float | None) -> tuple[float, float]:
    """Return the range of all rows without odd dots, so that one collapsed run does not flatten the picture."""
    inside = [v for row in rows for v, odd in zip(row.values, row.odd, strict=True) if not odd]
    inside += [b for row in rows if not any(row.odd) for b in (row.low, row.high)]
    if line is not None:
        inside.append(line)
    inside = [v for v in inside if math.isfinite(v)] or [0.0, 1.0]
    pad = 0.05 * (max(inside) - min(inside)) or 0.5
    return min(inside) - pad, max(inside) + pad


def _strip(ax: Axes, y: int, row: Strip, limits: tuple[float, float]) -> None:
    color, odd = row.style.color, np.array(row.odd, dtype=bool)
    # below the mean, scattered, and the same every time
    at = y + 0.13 * ((np.arange(len(row.values)) * 0.618) % 1 - 0.5) + 0.2
    for value, height in zip(row.values[odd], at[odd], strict=True):
        if math.isfinite(value):
            edge = float(np.clip(value, *limits))
            arrow = {-1: "<", 0: "x", 1: ">"}[int(np.sign(value - edge))]
            ax.plot([edge], [height], arrow, color=INK, ms=6, clip_on=False)
    ax.plot(row.values[~odd], at[~odd], "o", color=color, ms=4.5, alpha=0.55, mew=0)
    ax.plot([row.low, row.high], [y - 0.1, y - 0.1], color=color, lw=2.4, solid_capstyle="butt")
    ax.plot([row.mean], [y - 0.1], "o", color=color, mec=PAPER, mew=1, ms=8.5)


def name_rows(ax: Axes, labels: Sequence[str], letters: int) -> None:
    """Put one label a row in place of the vertical axis."""
    ax.set_yticks(range(len(labels)), [short(label, letters) for label in labels], color=INK, size=11.5)
    ax.tick_params(axis="y", length=0, pad=8)
    ax.spines.left.set_visible(False)
    ax.grid(axis="x")


def finish(ax: Axes, heading: Heading) -> str:
    """Write the title at the figure's left edge, not the axes', and export the figure."""
    offset = (-ax.get_window_extent().x0, 12)
    text = "\n".join(heading.lines)
    ax.annotate(text, (0, 1), offset, xycoords="axes fraction", textcoords="offset pixels", weight="bold")
    return export(ax, heading)


def _log_axis(ax: Axes) -> None:
    """Use a vertical log scale with plain numbers as labels."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
