"""Differential equations with known solutions: the points at which a network is asked to solve them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bevel_lab.data.facts import Facts, digest, facts
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet

PI = math.pi
TRAIN, VALIDATION, TEST = (4096, 64), (200, 20), (2000, 50)
"""Points along an axis in one and in two dimensions. No two of these grids share a midpoint: each count has another
number of factors 2."""
VISCOSITY, SPEED, HEIGHT = 0.2, 0.5, 1.0
"""Of Burgers' wave: ν, its speed, and half of the step that it carries."""

Density = Callable[[Tensor, Tensor], Tensor]
"""(points N×d that require a gradient, values of u there, N, that depend on them) → N numbers."""


@dataclass(frozen=True, eq=False)
class Equation:
    """An equation on a box, with all that a network needs to solve it and a judge to measure how well it did.

    Attributes:
        train: float64 N×d, midpoints of the N equal cells that the box is cut into.
        validation, test: float64, further points of it.
        cell: float64 d, the sides of a cell.
        solution: N×d points → the exact solution there, N.
        ansatz: (points N×d, values of a network, N) → N values of a function that meets the boundary and initial
            conditions whatever the network is.
        density: the loss of a function at points, whose mean is minimized; 0 for the solution at every point.
        facts: for the record.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    cell: Tensor
    solution: Callable[[Tensor], Tensor]
    ansatz: Density
    density: Density
    facts: Facts


def gradient(u: Tensor, x: Tensor) -> Tensor:
    """The gradient of ``u``, N, at each of its points ``x``, N×d: N×d, itself differentiable."""
    return torch.autograd.grad(u.sum(), x, create_graph=True, materialize_grads=True)[0]


def second_derivatives(slope: Tensor, x: Tensor, axes: Sequence[int]) -> list[Tensor]:
    """``∂²u/∂xᵢ²`` for every axis i of ``axes``, N each, from the gradient N×d that :func:`gradient` gave."""
    return [gradient(slope[:, i], x)[:, i] for i in axes]


def make_equation(
    words: str,
    box: Sequence[tuple[float, float]],
    solution: Callable[[Tensor], Tensor],
    ansatz: Density,
    density: Density,
) -> Equation:
    """Lay the points of an equation out.

    Args:
        words: the equation and how it is solved, for the record.
        box: the lowest and the highest coordinate along every axis.
        solution, ansatz, density: as the attributes of :class:`Equation`.
    """
    counts = [part[len(box) - 1] for part in (TRAIN, VALIDATION, TEST)]
    train, validation, test = (_midpoints(box, count) for count in counts)
    cell = torch.tensor([(high - low) / counts[0] for low, high in box], dtype=torch.float64)
    sizes = {"train": len(train), "validation": len(validation), "test": len(test)}
    content = digest([words.encode(), *(part.numpy().data for part in (train, validation, test))])
    return Equation(train, validation, test, cell, solution, ansatz, density, facts(sizes, content, note=words))


def _midpoints(box: Sequence[tuple[float, float]], count: int) -> Tensor:
    """The midpoints of ``count`` cells along every axis, float64 countᵈ×d."""
    steps = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    axes = [low + (high - low) * steps for low, high in box]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2).contiguous()


def _collocation(residual: Density) -> Density:
    """The square of what the equation leaves over: it takes the derivatives that the equation has."""
    return lambda x, u: residual(x, u).square()


def _ritz(source: Callable[[Tensor], Tensor], solution: Callable[[Tensor], Tensor]) -> Density:
    """Poisson's energy ``½|∇u|² − f·u`` less the solution's, whose mean over the box is ``½|∇(u − u*)|²``'s.

    It takes first derivatives only (E, Yu: The Deep Ritz method. Commun. Math. Stat. 6, 2018). What is subtracted does
    not depend on the network: it moves no gradient and lets the loss end at 0.
    """

    def energy(x: Tensor, u: Tensor) -> Tensor:
        return gradient(u, x).square().sum(1) / 2 - source(x) * u

    return lambda x, u: energy(x, u) - energy(x, solution(x)).detach()


def _wave(x: Tensor) -> Tensor:
    """``sin πx₁ · … · sin πx_d`` of twice the frequency in one dimension: 0 wherever a coordinate is ±1."""
    return torch.sin((2 if x.shape[1] == 1 else 1) * PI * x).prod(1)


def _wave_source(x: Tensor) -> Tensor:
    return (4 if x.shape[1] == 1 else 2) * PI**2 * _wave(x)


def _poisson_residual(x: Tensor, u: Tensor) -> Tensor:
    return sum(second_derivatives(gradient(u, x), x, range(x.shape[1])), _wave_source(x))


def _poisson(dimensions: int, density: Density, how: str, source: Source) -> Equation:
    words = ("u'' = −4π² sin 2πx", "Δu = −2π² sin πx · sin πy")[dimensions - 1] + f", u = 0 on the boundary; {how}"
    box = [(-1.0, 1.0)] * dimensions
    return make_equation(words, box, _wave, lambda x, net: (1 - x * x).prod(1) * net, density)


def _front(x: Tensor) -> Tensor:
    """A step that travels: ``c − a·tanh(a(x − ct)/2ν)`` (Whitham: Linear and nonlinear waves, 1974, section 4.3)."""
    return SPEED - HEIGHT * torch.tanh(HEIGHT * (x[:, 0] - SPEED * x[:, 1]) / (2 * VISCOSITY))


def _burgers_residual(x: Tensor, u: Tensor) -> Tensor:
    slope = gradient(u, x)
    return slope[:, 1] + u * slope[:, 0] - VISCOSITY * second_derivatives(slope, x, [0])[0]


def _front_ansatz(x: Tensor, net: Tensor) -> Tensor:
    """The line between the two ends, at every time, and the first moment's deviation from it; the rest is learned."""
    place, time = x.unbind(1)
    low, high = torch.full_like(place, -1.0), torch.ones_like(place)

    def line(when: Tensor) -> Tensor:
        left, right = (_front(torch.stack([end, when], 1)) for end in (low, high))
        return left * (1 - place) / 2 + right * (1 + place) / 2

    first = torch.zeros_like(time)
    start = _front(torch.stack([place, first], 1)) - line(first)
    return line(time) + start + time * (1 - place * place) * net


def _burgers(source: Source) -> Equation:
    words = f"u_t + u·u_x = {VISCOSITY:g}·u_xx for −1 < x < 1, 0 < t < 1: a travelling step; collocation"
    box = [(-1.0, 1.0), (0.0, 1.0)]
    return make_equation(words, box, _front, _front_ansatz, _collocation(_burgers_residual))


ENTRIES = {
    f"poisson_{d}d{suffix}": DataSet(
        f"Poisson's equation in {d} dimension{'s' * (d > 1)}, {how}; made, not read",
        partial(_poisson, d, density, how),
        "pde",
    )
    for d in (1, 2)
    for suffix, how, density in (
        ("", "collocation", _collocation(_poisson_residual)),
        ("_ritz", "Deep Ritz energy", _ritz(_wave_source, _wave)),
    )
} | {"burgers": DataSet("Burgers' equation with a travelling step, collocation; made, not read", _burgers, "pde")}
