"""Find the gate ``x·(b + (a − b)·cdf(n·x))`` that has given values on the grid: slopes, kernel and sharpness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bevel.kernel import KERNELS
from bevel.surgery._probe import FAR, ROUNDING, ends, grid, same, slopes

SHARP_ENOUGH = 20000.0
"""The sharpness of a gate that stands for a kinked function: with a Gaussian it is within 8.5e-6 of ReLU."""


def gates(values: Tensor, kernel: str | None = None, n: float | None = None) -> Iterator[dict[str, Any]]:
    """Find the arguments of gates that have these values; for two lines, of one that hardens to them.

    Args:
        values: of a function on the grid.
        kernel: the name of its kernel; None: all that can be a gate's are tried.
        n: the sharpness; None: the one at which a kernel's gate meets the function at one point.
    """
    low, high = ends(values)
    left, right = (0.0 if abs(slope) < ROUNDING**2 else slope for slope in (low / -FAR, high / FAR))
    lines = {"positive": right, "negative": left}
    if slopes(values) is not None:
        yield lines if n is not None else lines | {"n": SHARP_ENOUGH}
        return
    if abs(right - left) < ROUNDING:
        return
    opened = (values / grid() - left) / (right - left)
    at = (opened - 0.75).abs().argmin()  # where the distribution function is steep
    x, level = float(grid().flatten()[at]), float(opened.flatten()[at])
    for name in [k for k in KERNELS if KERNELS[k].has_moment] if kernel is None else [kernel]:
        cdf = KERNELS[name].cdf
        sharpness = _sharpness(cdf, x, level) if n is None else n
        if same(grid() * (left + (right - left) * cdf(grid() * sharpness)), values):
            yield lines | {"kernel": name, "n": sharpness}


def _sharpness(cdf: Callable[[Tensor], Tensor], x: float, level: float) -> float:
    """The n at which ``cdf(n·x)`` is a level, to six digits of n or of the width 1/n, whichever is nearer."""
    low, high = math.log(1e-6), math.log(1e6)
    for _ in range(8):
        logs = torch.linspace(low, high, 64, dtype=torch.float64, device="cpu")
        passed = (cdf(torch.exp(logs) * x) >= level) == (x > 0)
        first = min(max(int((~passed).sum()), 1), 63)  # cdf(n·x) rises or falls in n
        low, high = float(logs[first - 1]), float(logs[first])
    exact = math.exp(high)
    return min(float(f"{exact:.6g}"), 1 / float(f"{1 / exact:.6g}"), key=lambda n: abs(n - exact))
