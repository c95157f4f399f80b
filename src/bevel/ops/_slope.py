"""``slope``: the derivatives of a function in x, by the backends that compute the function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bevel._torch_private import plainly_eager
from bevel.family import Family
from bevel.ops import _analytic, _operator
from bevel.ops._backends import Backend, choose, needs_composed, preferred
from bevel.ops._evaluate import admit, needs_autograd
from bevel.ops._memory import OWN
from bevel.ops._saved import saved
from bevel.ops._second import second_by


def slope(x: Tensor, family: Family, parameters: Sequence[Tensor], *, dim: int = 1, order: int = 1) -> Tensor:
    """Return the derivative in x of the function that :func:`bevel.ops.evaluate` applies; takes what that takes.

    Args:
        order: 1, or 2 for the second derivative of a convolution.
    """
    recorded = needs_autograd(x, parameters)
    if not recorded and _short(x, parameters):
        ready = _operator.prepared(family)
        found = ready and ready.second(None, (x, *parameters), None, [], ready.packed, dim, order, 1.0)
        if found:  # else the operator does not take it, and what follows finds out who does
            own: Tensor = found[order - 1]
            return own
    axis = admit(x, parameters, dim)
    backend = None if needs_composed() else choose("auto", family, x, parameters)
    if backend is not None and backend.second is not _analytic.second:
        if not recorded:
            return _slope(backend, family, axis, order, x, parameters)
        if order == 1:
            result: Tensor = _Slope.apply(x, family, backend, axis, *parameters)
            return result
    at = family.formulas(x, parameters, axis)
    return (at.slope() if order == 1 else at.curvature()).to(x.dtype)


def _short(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether the operator may be asked at once, as in :func:`bevel.ops.evaluate`."""
    own = plainly_eager() and OWN.issuperset(map(type, (x, *parameters)))
    return own and x.is_cpu and not x.is_nested and preferred() == "auto"


def _slope(backend: Backend, family: Family, dim: int, order: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    none = (None,) * (1 + len(parameters))
    needs = (order == 1, order == 2, *(False for _ in parameters))
    found = backend.second(family, dim, None, x, parameters, none, needs, every=1.0)[order - 1]
    assert found is not None
    return found


class _Slope(torch.autograd.Function):
    """The slope, whose derivatives by x and the parameters the backend's second pass has too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, family: Family, backend: Backend, dim: int, *parameters: Tensor) -> Tensor:
        ctx.family, ctx.backend, ctx.dim = family, backend, dim
        ctx.save_for_backward(x, *parameters)
        return _slope(backend, family, dim, 1, x, parameters)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = saved(ctx)
        needs = (False, ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        g, none = g.to_dense(), (None,) * (1 + len(parameters))
        backend = second_by(ctx.backend, g, x, *parameters)
        _, dx, *rest = backend.second(ctx.family, ctx.dim, g, x, parameters, none, needs, every=1.0)
        return (dx, None, None, None, *rest)
