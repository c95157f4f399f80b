"""The backward pass as a function that can be differentiated, and the derivative along a tangent.

A native backend has one pass for them. Third derivatives, and tensors without memory of their own, take the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bevel._torch_private import forward_mode_active
from bevel.family import Family
from bevel.ops import _analytic
from bevel.ops._backends import Backend
from bevel.ops._memory import no_address
from bevel.ops._saved import saved


def differentiable(
    backend: Backend,
    family: Family,
    dim: int,
    g: Tensor,
    x: Tensor,
    parameters: Sequence[Tensor],
    needs: Sequence[bool],
) -> Sequence[Tensor | None]:
    """Return what ``backend.backward`` does, with a graph where gradients are recorded, whatever the tensors are."""
    g = g.to_dense().to(x.dtype)  # x is not a half where it was found from the output
    if forward_mode_active() or no_address(g, x, *parameters) is not None:
        return _analytic.backward(family, dim, g, x, parameters, needs)
    if not torch.is_grad_enabled():
        return backend.backward(family, dim, g, x, parameters, needs)
    found: tuple[Tensor | None, ...] = _Gradients.apply(backend, family, dim, tuple(needs), g, x, *parameters)
    return found


class _Gradients(torch.autograd.Function):
    """The gradients of (x, *parameters) as a function of (g, x, *parameters)."""

    @staticmethod
    def forward(
        ctx: Any, backend: Backend, family: Family, dim: int, needs: Sequence[bool], *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        ctx.backend, ctx.family, ctx.dim = backend, family, dim
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        g, x, *parameters = tensors
        return tuple(backend.backward(family, dim, g, x, parameters, needs))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, *parameters = saved(ctx)
        needs = ctx.needs_input_grad[4:]
        dense = [None if c is None else c.to_dense() for c in cotangents]
        backend = second_by(ctx.backend, g, x, *parameters, *dense)
        found = backend.second(ctx.family, ctx.dim, g, x, parameters, dense, needs)
        return (None, None, None, None, *found)


def second_by(backend: Backend, *tensors: Tensor | None) -> Any:
    """Return the backend whose ``second`` may take these tensors, and whose results have a graph if one is recorded."""
    if torch.is_grad_enabled() or forward_mode_active():
        return _analytic
    return backend if no_address(*(t for t in tensors if t is not None)) is None else _analytic


def tangent(
    backend: Backend,
    family: Family,
    dim: int,
    x: Tensor,
    parameters: Sequence[Tensor],
    tangents: Sequence[Tensor | None],
) -> Tensor:
    """Return the forward-mode derivative: the partial derivatives times the tangents of (x, *parameters)."""
    tensors = (x, *parameters, *(t for t in tangents if t is not None))
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    chosen: Any = _analytic if recorded or no_address(*tensors) is not None else backend
    needs = (True, *(False for _ in tangents))
    (along, *_) = chosen.second(family, dim, None, x, parameters, tangents, needs)
    result: Tensor = along
    return result
