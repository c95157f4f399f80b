"""Draw benchmark rows of a CPU: one call, and what whole networks keep and take, as multiples of torch's ReLU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bevel_lab.bench.rows import Row, find
from bevel_lab.bench.targets import MB33

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CALLS = ("frelu(C)", "sau", "sau:n=1", "smooth_frelu(C)", "relu", "leaky_relu", "gelu", "prelu(C)")
ARMS = {"gelu": ("#8a919b", "s"), "sau": ("#097ca9", "o"), "frelu": ("#e27902", "^"), "smooth_frelu": ("#774883", "D")}
"""Color and marker of what a network is measured with, beside ReLU."""
STAMP = "rows"
"""Under this key the picture holds the digest of the rows that it shows."""
_INK, _MUTED, _GRID, _OURS, _OTHERS = "#40454c", "#69717d", "#eceef1", "#097ca9", "#b9bec6"
_OURS_BY_NAME = {"frelu", "sau", "smooth_frelu"}


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw what the rows have of one call and of whole networks; return whether that is anything."""
    calls, kept, taken = _calls(rows), _networks(rows, "bytes"), _networks(rows, "step")
    panels = [panel for panel in (calls, kept, taken) if panel]
    if not panels:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9 * len(panels), 4.2), layout="constrained")
    axes = iter(figure.subplots(1, len(panels), squeeze=False)[0])
    if calls:
        _bars(next(axes), calls)
    if kept:
        _dots(next(axes), kept, "a network: bytes kept for backward")
    if taken:
        _dots(next(axes), taken, "a network: time of a training step")
    if kept or taken:
        figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside lower right", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None, STAMP: digest(rows)})
    return True


def digest(rows: Sequence[Row]) -> str:
    """Return what tells whether a picture shows these rows."""
    shown = [_calls(rows), _networks(rows, "bytes"), _networks(rows, "step")]
    values = [[(row.case, row.layout, row.elements, row.to_relu) for row in part] for part in shown]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _calls(rows: Sequence[Row]) -> list[Row]:
    """Return forward and backward of one call at 33 MB, or at the largest size there is, on one thread."""
    speed = find(rows, section="speed", what="both", dtype="float32", layout="nchw", threads=1)
    sizes = {row.elements for row in speed}
    chosen = find(speed, elements=MB33 if MB33 in sizes else max(sizes, default=0))
    return sorted((row for row in chosen if row.case in CALLS and row.to_relu), key=lambda row: -row.to_relu)


def _networks(rows: Sequence[Row], what: str) -> list[Row]:
    found = find(rows, section="network", what=what, threads=1)
    return [row for row in found if row.case in ARMS and row.to_relu]


def _bars(axes: Axes, calls: Sequence[Row]) -> None:
    ours = [row.case.partition(":")[0].partition("(")[0] in _OURS_BY_NAME for row in calls]
    colors = [_OURS if own else _OTHERS for own in ours]
    axes.barh([row.case for row in calls], [row.to_relu for row in calls], color=colors, height=0.62)
    for i, row in enumerate(calls):
        axes.annotate(f"{row.to_relu:.2f}", (row.to_relu, i), xytext=(4, 0), textcoords="offset points", va="center",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip
    axes.set_xlim(0, 1.15 * max(row.to_relu for row in calls))
    size = f"{calls[0].elements * 4 // 10**6} MB"
    _finish(axes, f"a call: forward and backward, {size}")


def _dots(axes: Axes, rows: Sequence[Row], title: str) -> None:
    """Draw a line for each network, from the top in the order of the rows, and a mark for each activation."""
    names = list(dict.fromkeys(row.layout for row in rows))[::-1]
    for place, (arm, (color, marker)) in enumerate(ARMS.items()):
        own = find(rows, case=arm)
        heights = [names.index(row.layout) + 0.2 * (1.5 - place) for row in own]  # marks of one value stay visible
        axes.plot([row.to_relu for row in own], heights, marker, color=color, ms=5.5, label=arm)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.axvline(1, color=_INK, lw=0.8)
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set_xlabel("multiples of torch's ReLU in the same run", fontsize=9, color=_MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=_MUTED)
    axes.grid(axis="x", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
