"""Name the kinked function that has given values, as ``mollified`` takes it in a spec string."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bevel import kinked
from bevel.errors import BevelError
from bevel.surgery._probe import FAR, ends, grid, limits, same, slopes

Function = Callable[[Tensor], Tensor]

JUMPING = ("threshold", "hard_shrink")
"""Functions that values on the grid do not tell: they may jump between two of its points."""


def kinked_text(values: Tensor, function: Function | None = None) -> str | None:
    """Name a function of ``bevel.kinked`` with these values on the grid, e.g. ``"relu6"``; None if there is none.

    Args:
        values: of a function on the grid.
        function: the function itself, which tells where it jumps: between two points of the grid that could be
            anywhere. Default: none, and the point of the grid is taken.
    """
    for text in _guesses(values, function):
        try:
            if same(kinked.named(text)(grid()), values):
                return text
        except BevelError:  # bounds that are no bounds
            continue
    return None


def _guesses(values: Tensor, function: Function | None) -> Iterator[str]:
    yield "relu"
    lines, levels = slopes(values), limits(values)
    if lines is not None:
        yield f"leaky_relu({lines[0]!r})"
        yield f"frelu({lines[1]!r},{lines[0]!r})"
    yield from ("relu6", "absolute", "hard_sigmoid", "hardswish", "relu_squared")
    if levels is not None:
        yield f"hardtanh({levels[0]!r},{levels[1]!r})"
    low, high = ends(values)
    yield f"soft_shrink({FAR - high!r})"
    x, order = grid().flatten().sort()
    y = values.flatten()[order]
    if high != FAR:
        return
    right = x > 0
    if (knot := _end(x, y == low, function, low)) is not None:
        yield f"threshold({knot!r},{low!r})"
    if (knot := _end(x[right], y[right] == 0, function, 0.0)) is not None:
        yield f"hard_shrink({knot!r})"


def _end(x: Tensor, holds: Tensor, function: Function | None, level: float) -> float | None:
    """Return the last number at which a function has its level, by bisection; None unless it has it at first only."""
    first = int((~holds).float().argmax())
    if first == 0 or bool(holds[first:].any()):
        return None
    low, high = float(x[first - 1]), float(x[first])
    if function is None:
        return low
    while (middle := (low + high) / 2) not in (low, high):
        with torch.no_grad():
            at_level = float(function(torch.tensor([middle], dtype=torch.float64, device="cpu"))) == level
        low, high = (middle, high) if at_level else (low, middle)
    return low
