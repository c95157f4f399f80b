"""Place the names of arms in a figure: shorten them, move them apart, and tie them to what they name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bevel_lab.report.figures.svg import MUTED, Style
from bevel_lab.report.statistics.arrays import Floats

CHARACTER = 7.0  # upper estimate of a character's width at the figures' font size


def short(label: str, limit: int = 22) -> str:
    """Cut the middle out of a long label, because both ends tell arms apart."""
    if len(label) <= limit:
        return label
    tail = limit // 2
    return f"{label[: limit - tail - 1]}…{label[-tail:]}"


def margin_for(labels: Sequence[str], letters: int) -> float:
    """Return the width in pixels of a margin with these labels."""
    return 12 + CHARACTER * max(len(short(label, letters)) for label in labels)


def label_ends(ax: Axes, curves: Sequence[tuple[str, Style, Floats]], letters: int) -> None:
    """Name every curve at its end. Labels that would overlap move apart and are tied to the end by a thin line."""
    ends = [(label, style, values[np.isfinite(values)]) for label, style, values in curves]
    ends = [end for end in ends if end[2].size]
    ax.autoscale_view()  # pixels are known only after the limits
    pixel, back = ax.transData, ax.transData.inverted()
    bottom, top = sorted(float(pixel.transform((0, v))[1]) for v in ax.get_ylim())
    last = max(len(values) for *_, values in curves)
    wanted = [float(np.clip(pixel.transform((last, values[-1]))[1], bottom, top)) for *_, values in ends]
    edge = float(pixel.transform((last, 1))[0])
    for (label, style, _), was, y in zip(ends, wanted, apart(wanted, 13.5, bottom, top), strict=True):
        knots = back.transform([(edge + 3, was), (edge + 8, was), (edge + 15, y)])
        ax.plot(*knots.T, color=style.color, lw=1.2, clip_on=False, scalex=False, scaley=False)
        ax.annotate(short(label, letters), tuple(back.transform((edge + 18, y))), va="center", annotation_clip=False)


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near the wanted ones, in their order, ``gap`` apart and inside the bounds if they fit."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    # Without the gaps, "at least gap apart" means "not decreasing": pool neighbors that are out of order.
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


def label_points(ax: Axes, points: Sequence[tuple[str, float, float]], letters: int) -> None:
    """Put each name on the freest side of its point. A line ties it to the point if it had to move away."""
    ax.autoscale_view()  # pixels are known only after the limits
    at = {label: ax.transData.transform((x, y)) for label, x, y in points}
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at.values()]
    box = ax.get_window_extent()
    for label, *_ in sorted(points, key=lambda point: -point[2]):
        x, y = at[label]
        places = [
            q for q in _places(x, y, CHARACTER * len(short(label, letters))) if box.y0 < q[1] and q[3] < box.y1 + 6
        ]
        inside = [q for q in places if box.x0 < q[0] and q[2] < box.x1 + 14] or places
        place = min(inside, key=lambda q: sum(_overlap(q, t) for t in taken))
        taken.append(place)
        middle = (place[1] + place[3]) / 2
        near = float(np.clip(x, place[0], place[2]))
        back = ax.transData.inverted()
        if math.hypot(near - x, middle - y) > 12:
            line = back.transform([(x, y), (near, middle)])
            ax.plot(*line.T, color=MUTED, lw=0.7, zorder=1, scalex=False, scaley=False)
        ax.annotate(short(label, letters), tuple(back.transform((place[0], middle))), va="center")


def _places(x: float, y: float, width: float) -> list[tuple[float, float, float, float]]:
    """Return boxes for a name around a point, the nearest first."""
    sides = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
    moves = [(reach * dx, reach * dy) for reach in (9, 20, 32, 44) for dx, dy in sides]
    lefts = [(x + dx if dx > 0 else x + dx - width, y + dy) for dx, dy in moves]
    return [(left, middle - 6, left + width, middle + 6) for left, middle in lefts]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
