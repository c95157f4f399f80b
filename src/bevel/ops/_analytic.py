"""Backend ``analytic``: a forward of torch operations and a hand-written backward from the saved input, on any device.

Its backward is made of differentiable torch operations; second derivatives of every other backend go through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops._memory import in_memory
from bevel.terms import along


def unavailable() -> str | None:
    return None


def refuses(family: Family, x: Tensor, parameters: Sequence[Tensor]) -> str | None:
    return None


def forward(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    return in_memory(family.formulas(x, parameters, dim).value().to(x.dtype))


def backward(
    family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    at = family.formulas(x, parameters, dim)
    g = g.to(at.x.dtype)
    out: list[Tensor | None] = [in_memory((g * at.slope()).to(x.dtype)) if needs[0] else None]
    for index, parameter in enumerate(parameters):
        out.append(in_memory(_reduce(g * at.by_parameter(index), parameter, dim)) if needs[1 + index] else None)
    return out


def _reduce(elementwise: Tensor, parameter: Tensor, dim: int) -> Tensor:
    """Sum to the parameter's shape: over everything, or over everything but the channel axis."""
    if parameter.numel() == 1:
        return elementwise.sum().reshape(1).to(parameter.dtype)
    others = [d for d in range(elementwise.dim()) if d != dim]
    return (elementwise.sum(others) if others else elementwise).to(parameter.dtype)


def tangent(
    family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> Tensor:
    """Return the forward-mode derivative: the partial derivatives times the tangents of (x, *parameters)."""
    at = family.formulas(x, parameters, dim)
    total = torch.zeros_like(at.x)
    if tangents[0] is not None:
        total = total + at.slope() * tangents[0].to(at.x.dtype)
    for index, t in enumerate(tangents[1:]):
        if t is not None:
            total = total + at.by_parameter(index) * along(t, at.x, dim)
    return total.to(x.dtype)
