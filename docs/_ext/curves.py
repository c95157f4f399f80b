"""What a card draws: value, slope and curvature of a catalog's item at three sharpnesses, and the pictures of them."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import bevel

REACH, POINTS = 4.0, 401
SHARPNESSES = (1.0, 2.0, 5.0)
INK, MUTED, GRID, BLUES = "#40454c", "#6b7280", "#eceef1", ("#7fb8dc", "#2f7fbf", "#08306b")


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
    """Draw one panel of a card, or the small picture of the gallery; the file's name changes with its content.

    It writes the SVG itself: matplotlib takes a third of a second a picture, and there are 250.
    """
    seen = hashlib.sha256(Path(__file__).read_bytes())
    for c in curves:
        seen.update((getattr(c, what or "value") * 1e6).round().to(torch.int64).numpy().tobytes())
    prefix = f"{name}-{what or 'small'}"
    file = f"{prefix}-{seen.hexdigest()[:10]}.svg"
    if not (folder / file).exists():
        for old in folder.glob(f"{prefix}-*.svg"):
            old.unlink()
        (folder / file).write_text(_panel(curves, what) if what else _small(curves), encoding="utf-8")
    return file


class _Plane:
    """Where numbers stand in a picture.

    Args:
        width, height: of the picture.
        box: left, top, right and bottom of the part that is drawn on.
        drawn: what is drawn, so that all of it is seen.
    """

    def __init__(self, width: int, height: int, box: tuple[float, float, float, float], drawn: Tensor) -> None:
        self.size, self.box = (width, height), box
        low, high = float(drawn.min()), float(drawn.max())
        margin = 0.05 * (high - low) or 0.5
        self.low, self.high = low - margin, high + margin

    def x(self, x: float) -> float:
        left, _, right, _ = self.box
        return left + (right - left) * (x + 1.06 * REACH) / (2.12 * REACH)

    def y(self, y: float) -> float:
        _, top, _, bottom = self.box
        return bottom + (top - bottom) * (y - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Round numbers on the vertical axis, five to nine, with their texts."""
        rough = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * s for s in (1, 2, 5, 10) if power * s >= rough)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield k * step, f"{k * step:.{digits}f}".replace("-", "−")

    def line(self, x: Tensor, y: Tensor, color: str, width: float) -> str:
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.2f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}"/>'

    def svg(self, parts: list[str]) -> str:
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        )
        return "\n".join([f'{head} font-family="sans-serif" font-size="13" fill="{INK}">', *parts, "</svg>\n"])


def _straight(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{size}>{text}</text>'


def _lines(plane: _Plane, curves: list[Curve], what: str, width: float) -> list[str]:
    colors = BLUES if len(curves) > 1 else BLUES[1:]
    return [plane.line(c.x, getattr(c, what), color, width) for c, color in zip(curves, colors, strict=False)]


def _panel(curves: list[Curve], what: str) -> str:
    left, top, right, bottom = box = (46.0, 30.0, 304.0, 242.0)
    plane = _Plane(310, 270, box, torch.cat([getattr(c, what) for c in curves]))
    parts = [_text(left, 18, what, size=' font-size="15"')]
    for value, text in plane.ticks():
        parts += [
            _straight(left, plane.y(value), right, plane.y(value), GRID),
            _text(left - 5, plane.y(value) + 4.5, text, "end"),
        ]
    for value in range(-4, 5, 2):
        parts += [_straight(plane.x(value), top, plane.x(value), bottom, GRID)]
        parts += [_text(plane.x(value), bottom + 17, f"{value}".replace("-", "−"), "middle")]
    parts += [_straight(left, top, left, bottom, MUTED), _straight(left, bottom, right, bottom, MUTED)]
    parts += _lines(plane, curves, what, 1.9)
    return plane.svg([*parts, *(_legend(plane, curves) if what == "value" else [])])


def _legend(plane: _Plane, curves: list[Curve]) -> list[str]:
    """The names of the curves, in the corner through which the fewest of their points go."""
    left, top, right, bottom = plane.box
    wide, high = 116.0, 18.0 * len(curves) + 4
    points = [(plane.x(a), plane.y(b)) for c in curves for a, b in zip(c.x.tolist(), c.value.tolist(), strict=True)]

    def crossed(corner: tuple[float, float]) -> int:
        return sum(corner[0] <= a <= corner[0] + wide and corner[1] <= b <= corner[1] + high for a, b in points)

    x, y = min(((x, y) for y in (top + 4, bottom - high - 4) for x in (left + 6, right - wide)), key=crossed)
    colors = BLUES if len(curves) > 1 else BLUES[1:]
    parts = []
    for i, (curve, color) in enumerate(zip(curves, colors, strict=False)):
        at = y + 18 * i + 10
        parts += [_straight(x, at, x + 20, at, color, 1.9), _text(x + 26, at + 4.5, curve.label)]
    return parts


def _small(curves: list[Curve]) -> str:
    left, top, right, bottom = box = (4.0, 4.0, 216.0, 136.0)
    plane = _Plane(220, 140, box, torch.cat([c.value for c in curves] + [torch.zeros(1)]))
    axes = [
        _straight(left, plane.y(0), right, plane.y(0), "#d5d9de"),
        _straight(plane.x(0), top, plane.x(0), bottom, "#d5d9de"),
    ]
    return plane.svg([*axes, *_lines(plane, curves, "value", 3)])
