"""Backend ``analytic``: a forward of torch operations and a hand-written backward from the saved input, on any device.

Its backward is made of differentiable torch operations; third derivatives of every other backend go through it, and
second ones where a backend has no pass for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops._memory import in_memory


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


def second(
    family: Family,
    dim: int,
    g: Tensor | None,
    x: Tensor,
    parameters: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    needs: Sequence[bool],
    every: float = 0.0,
) -> list[Tensor | None]:
    """Differentiate :func:`backward`; the results can be differentiated where gradients are recorded."""
    a, *given = cotangents
    a = torch.full_like(x, every) if a is None and every else a
    tensors = (torch.ones_like(x) if g is None else g, x, *parameters)
    again = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*tensors, *cotangents))
    with torch.enable_grad():  # views, because g may depend on x, and that is none of this function's derivative
        inputs = [t.view_as(t) if again and t.requires_grad else t.detach().requires_grad_() for t in tensors]
        outputs = backward(family, dim, inputs[0], inputs[1], inputs[2:], [c is not None for c in (a, *given)])
    pairs = [(y, c) for y, c in zip(outputs, (a, *given), strict=True) if y is not None and c is not None]
    found: list[Tensor | None] = [None] * len(needs)
    wanted = [i for i, need in enumerate(needs) if need]
    if not pairs:
        return [torch.zeros_like(t) if need else None for t, need in zip(tensors, needs, strict=True)]
    ys, cs = zip(*pairs, strict=True)
    at = [inputs[i] for i in wanted]
    derivatives = torch.autograd.grad(ys, at, cs, create_graph=again, allow_unused=True, materialize_grads=True)
    for i, d in zip(wanted, derivatives, strict=True):
        found[i] = in_memory(d)
    return found
