"""What a card draws: value, slope and curvature of a catalog's item at three sharpnesses, and the pictures of them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

import bevel

REACH, POINTS = 4.0, 401
SHARPNESSES = (1.0, 2.0, 5.0)
INK, BLUES = "#40454c", ("#7fb8dc", "#2f7fbf", "#08306b")
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "bevel", "font.family": "sans-serif", "font.size": 9}


@dataclass(frozen=True)
class Curve:
    """One function on [-4, 4], in float64."""

    label: str
    x: Tensor
    value: Tensor
    slope: Tensor
    curvature: Tensor


def _curve(label: str, f: Callable[[Tensor], Tensor], scale: float = 1.0) -> Curve:
    """Draw ``f(scale·x)/scale``, with derivatives by autograd."""
    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64, requires_grad=True)
    value = f((scale * x)[:, None])[:, 0] / scale
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return Curve(label, x.detach(), value.detach(), slope.detach(), _second(slope, x).detach())


def _second(slope: Tensor, x: Tensor) -> Tensor:
    """Differentiate a slope again."""
    if not slope.requires_grad:
        return torch.zeros_like(x)
    try:
        (found,) = torch.autograd.grad(slope.sum(), x, allow_unused=True)
        return torch.zeros_like(x) if found is None else found
    except RuntimeError:  # torch has no second derivative of Hardsigmoid: take the smaller of the differences beside x
        steps = torch.nn.functional.pad(slope.detach().diff() / x.detach().diff(), (1, 1))
        left, right = steps[:-1], steps[1:]
        return torch.where(left.abs() < right.abs(), left, right)


def of_activation(name: str) -> list[Curve]:
    """Draw an activation at three sharpnesses n; one that has no n, at three scales s of its input."""
    if "n" in inspect.signature(bevel.ACTIVATIONS[name].factory).parameters:
        return [_curve(f"n = {n:g}", bevel.create(f"{name}:n={n}").double()) for n in SHARPNESSES]
    module = bevel.create(name).double().eval()  # in training some are random
    curves = [_curve(f"s = {s:g}", module, s) for s in SHARPNESSES]
    if all(torch.allclose(c.value, curves[0].value) for c in curves):
        return [Curve("at every scale", *(getattr(curves[0], k) for k in ("x", "value", "slope", "curvature")))]
    return curves


def of_kernel(name: str) -> list[Curve]:
    """Draw ReLU smoothed by a kernel; the unit step, where the kernel smooths nothing else."""
    f = "relu" if bevel.KERNELS[name].has_moment else "step"
    curves = []
    for n in SHARPNESSES:
        g, x = bevel.mollify(f, name, n), torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
        curves.append(Curve(f"n = {n:g}", x, g(x), g.slope(x), g.curvature(x)))
    return curves


def described(title: str, curves: list[Curve], what: str) -> str:
    """Say in words what a picture shows, for those who do not see it."""
    drawn = torch.cat([getattr(c, what) for c in curves]).round(decimals=6) + 0.0  # 0 and not −0 or 1e-85
    which = ", ".join(c.label for c in curves)
    return f"{what} of {title} on [-4, 4], {which}: from {float(drawn.min()):.3g} to {float(drawn.max()):.3g}"


def draw(curves: list[Curve], folder: Path, name: str, what: str = "") -> str:
    """Draw one panel of a card, or the small picture of the gallery; the file's name changes with its content."""
    seen = hashlib.sha256(Path(__file__).read_bytes())
    for c in curves:
        seen.update((getattr(c, what or "value") * 1e6).round().to(torch.int64).numpy().tobytes())
    prefix = f"{name}-{what or 'small'}"
    file = f"{prefix}-{seen.hexdigest()[:10]}.svg"
    if not (folder / file).exists():
        for old in folder.glob(f"{prefix}-*.svg"):
            old.unlink()
        with matplotlib.rc_context(STYLE):
            figure = _panel(curves, what) if what else _small(curves)
            figure.savefig(folder / file, metadata={"Date": None, "Creator": None})
    return file


def _panel(curves: list[Curve], what: str) -> Figure:
    figure = Figure(figsize=(3.1, 2.7), layout="constrained")
    axes = figure.subplots()
    _lines(axes, curves, what, 1.7)
    axes.set_title(what, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    if what == "value":
        axes.legend(frameon=False, fontsize=8.5)
    return figure


def _small(curves: list[Curve]) -> Figure:
    figure = Figure(figsize=(2.2, 1.4))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.axhline(0, color="#d5d9de", lw=1)
    axes.axvline(0, color="#d5d9de", lw=1)
    _lines(axes, curves, "value", 2.2)
    axes.axis("off")
    return figure


def _lines(axes: matplotlib.axes.Axes, curves: list[Curve], what: str, width: float) -> None:
    colors = BLUES if len(curves) > 1 else BLUES[1:]
    for curve, color in zip(curves, colors, strict=False):
        axes.plot(curve.x, getattr(curve, what), color=color, lw=width, label=curve.label)
