"""The figures: each function draws numbers that were computed before and returns SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bevel_lab.report.figures.svg import INK, LINE, MUTED, PAPER, Style, canvas, export
from bevel_lab.report.statistics.paired import Floats

WIDE = 460  # pixels, of a panel beside another one; the page scales it by 0.78 (phone) to 1.15
SMALL = 220  # of a small multiple
CHARACTER = 7.0  # an upper estimate of a character's width at the figures' font size


@dataclass(frozen=True)
class Strip:
    """A row of dots: one number a seed, their mean and an interval; ``odd`` dots are drawn as crosses."""

    label: str
    style: Style
    values: Floats
    odd: Sequence[bool]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A curve over epochs with a band."""

    label: str
    style: Style
    middle: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Shape:
    """An activation's curves: before training, after it at every site, and the range over channels and seeds."""

    label: str
    style: Style
    x: Floats
    before: Floats
    after: Floats  # (sites, points), shallow to deep
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Spread:
    """A learnt parameter: per site the values over channels and seeds, and where they started."""

    label: str
    style: Style
    sites: Sequence[Floats]
    before: Sequence[float]


@dataclass(frozen=True)
class Point:
    """An arm's place in the plane, with horizontal and vertical extent."""

    label: str
    style: Style
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


def short(label: str, limit: int = 22) -> str:
    """The label, its middle left out where it is long: both ends tell arms apart."""
    if len(label) <= limit:
        return label
    tail = limit // 2
    return f"{label[: limit - tail - 1]}…{label[-tail:]}"


def strips(
    rows: Sequence[Strip], *, name: str, title: str, xlabel: str, description: str, line: float | None = None
) -> str:
    """One row an arm; crosses that fall outside the others' range stand at the edge with an arrow. A vertical line
    marks ``line``, which is always in the picture."""
    left = 12 + CHARACTER * max(len(short(row.label)) for row in rows)
    with canvas(WIDE, 62 + 26 * len(rows), left=left, right=16, top=26, bottom=38) as ax:
        low, high = _strip_limits(rows, line)
        if line is not None:
            ax.axvline(line, color=MUTED, lw=1)
        for y, row in enumerate(rows):
            _strip(ax, y, row, (low, high))
        ax.set(xlim=(low, high), ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_yticks(range(len(rows)), [short(row.label) for row in rows], color=INK, size=11.5)
        ax.tick_params(axis="y", length=0, pad=8)
        ax.spines.left.set_visible(False)
        ax.grid(axis="x")
        return finish(ax, name, title, description)


def curves(
    lines: Sequence[Line], *, name: str, title: str, description: str, log: bool = False, floor: float | None = None
) -> str:
    """Curves over epochs, each named at its right end. ``floor`` cuts off what lies below."""
    right = 24 + CHARACTER * max(len(short(line.label)) for line in lines)
    with canvas(WIDE, 310, left=40, right=right, top=28, bottom=40) as ax:
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
        _end_labels(ax, lines)
        return finish(ax, name, title, description)


def shape(panel: Shape, *, name: str, limits: tuple[float, float], description: str) -> str:
    """One activation before and after training."""
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
        return finish(ax, name, short(panel.label, 30), description)


def parameter(panel: Spread, *, name: str, symbol: str, description: str) -> str:
    """One learnt parameter over the depth of the network."""
    known = np.concatenate([*panel.sites, np.asarray(panel.before, dtype=np.float64)])
    known = known[np.isfinite(known)]
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
        return finish(ax, name, f"{short(panel.label)} · {short(symbol, 14)}", description)


def scatter(
    points: Sequence[Point], *, name: str, title: str, xlabel: str, description: str, front: Sequence[int] = ()
) -> str:
    """Arms in the plane, named beside their point; a line marks x = 1, where an arm costs what the reference does.
    ``front`` lists the points that a dotted line joins, from the left."""
    with canvas(WIDE, 310, left=40, right=16, top=28, bottom=40) as ax:
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
        _point_labels(ax, points)
        return finish(ax, name, title, description)


def _strip_limits(rows: Sequence[Strip], line: float | None) -> tuple[float, float]:
    """The range of all rows but their odd dots, so that one collapsed run does not flatten the picture."""
    inside = [v for row in rows for v, odd in zip(row.values, row.odd, strict=True) if not odd]
    inside += [b for row in rows if not any(row.odd) for b in (row.low, row.high)]
    if line is not None:
        inside.append(line)
    inside = [v for v in inside if math.isfinite(v)] or [0.0, 1.0]
    pad = 0.05 * (max(inside) - min(inside)) or 0.5
    return min(inside) - pad, max(inside) + pad


def _strip(ax: Axes, y: int, row: Strip, limits: tuple[float, float]) -> None:
    color = row.style.color
    for i, (value, odd) in enumerate(zip(row.values, row.odd, strict=True)):
        at = y + 0.13 * ((i * 0.618) % 1 - 0.5) + 0.2  # below the mean, scattered but the same every time
        if not math.isfinite(value):
            continue
        if odd:
            edge = float(np.clip(value, *limits))
            arrow = {-1: "<", 0: "x", 1: ">"}[int(np.sign(value - edge))]
            ax.plot([edge], [at], arrow, color=INK, ms=6, clip_on=False)
        else:
            ax.plot([value], [at], "o", color=color, ms=4.5, alpha=0.55, mew=0)
    ax.plot([row.low, row.high], [y - 0.1, y - 0.1], color=color, lw=2.4, solid_capstyle="butt")
    ax.plot([row.mean], [y - 0.1], "o", color=color, mec=PAPER, mew=1, ms=8.5)


def finish(ax: Axes, name: str, title: str, description: str) -> str:
    """The title, at the figure's left edge rather than the axes', and out."""
    left = ax.get_window_extent().x0
    offset = (-left, 12)
    ax.annotate(title, (0, 1), offset, xycoords="axes fraction", textcoords="offset pixels", weight="bold")
    return export(ax, name=name, title=title, description=description)


def _log_axis(ax: Axes) -> None:
    """A vertical log scale that is labelled with plain numbers."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _end_labels(ax: Axes, lines: Sequence[Line]) -> None:
    """Name every curve at its end, moved apart where they would overlap and tied to the end by a thin line."""
    ends = [(line, [v for v in line.middle if math.isfinite(v)]) for line in lines]
    ends = [(line, values) for line, values in ends if values]
    ax.autoscale_view()  # pixels are only known once the limits are
    pixel, back = ax.transData, ax.transData.inverted()
    bottom, top = sorted(float(pixel.transform((0, v))[1]) for v in ax.get_ylim())
    last = max(len(line.middle) for line in lines)
    wanted = [float(np.clip(pixel.transform((last, values[-1]))[1], bottom, top)) for _, values in ends]
    edge = float(pixel.transform((last, 1))[0])
    for (line, _), was, y in zip(ends, wanted, apart(wanted, 13.5, bottom, top), strict=True):
        knots = back.transform([(edge + 3, was), (edge + 8, was), (edge + 15, y)])
        ax.plot(*knots.T, color=line.style.color, lw=1.2, clip_on=False, scalex=False, scaley=False)
        ax.annotate(short(line.label), tuple(back.transform((edge + 18, y))), va="center", annotation_clip=False)


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least ``gap`` apart and inside the bounds if they fit."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # With the gaps taken out, "at least gap apart" is "not decreasing": pool neighbours that are out of order.
    pools: list[list[float]] = []
    for value in np.asarray(wanted)[order] - steps:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(-2), pools.pop()
            pools.append([(a * m + b * n) / (m + n), m + n])
    level = np.concatenate([np.full(int(n), value) for value, n in pools]) if pools else np.zeros(0)
    room = max(low, high - gap * (len(wanted) - 1))
    placed = np.empty(len(wanted))
    placed[order] = np.clip(level, low, room) + steps
    return [float(v) for v in placed]


def _point_labels(ax: Axes, points: Sequence[Point]) -> None:
    """Put each name on the freest side of its point; one that had to move away is tied to it by a line."""
    ax.autoscale_view()  # as above
    at = {p.label: ax.transData.transform((p.x, p.y)) for p in points}
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at.values()]
    box = ax.get_window_extent()
    for p in sorted(points, key=lambda p: -p.y):
        x, y = at[p.label]
        places = [q for q in _places(x, y, CHARACTER * len(short(p.label))) if box.y0 < q[1] and q[3] < box.y1 + 6]
        inside = [q for q in places if box.x0 < q[0] and q[2] < box.x1 + 14] or places
        place = min(inside, key=lambda q: sum(_overlap(q, t) for t in taken))
        taken.append(place)
        middle = (place[1] + place[3]) / 2
        near = float(np.clip(x, place[0], place[2]))
        back = ax.transData.inverted()
        if math.hypot(near - x, middle - y) > 12:
            line = back.transform([(x, y), (near, middle)])
            ax.plot(*line.T, color=MUTED, lw=0.7, zorder=1, scalex=False, scaley=False)
        ax.annotate(short(p.label), tuple(back.transform((place[0], middle))), va="center")


def _places(x: float, y: float, width: float) -> list[tuple[float, float, float, float]]:
    """Boxes for a name around a point, the nearest first."""
    sides = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
    moves = [(reach * dx, reach * dy) for reach in (9, 20, 32, 44) for dx, dy in sides]
    lefts = [(x + dx if dx > 0 else x + dx - width, y + dy) for dx, dy in moves]
    return [(left, middle - 6, left + width, middle + 6) for left, middle in lefts]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
