"""A call under ``torch.func``: two native passes in the place of the formulas.

A transform sees torch operations only, and each costs it rules of its own. So the transforms are taken off one by one,
the native passes compute value, slope and second derivative of the plain tensor inside, and each transform is given
what it needs: ``vmap`` its batch, forward mode the slope times the tangent, and backward mode a node whose backward
multiplies by the slope. The slope is such a node too, with the second derivative for its slope: a function that calls
``torch.autograd.grad`` differentiates twice inside of one transform. Where more derivatives are taken, or any by a
parameter that is itself wrapped, the formulas are right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from bevel._torch_func import SingleLevelFunction, Transform, innermost_transform, is_alive, is_wrapped, plain_if_over
from bevel._torch_private import dispatch_mode_active, jit_tracing
from bevel.family import Family
from bevel.ops import _analytic
from bevel.ops._backends import Backend, choose
from bevel.ops._memory import OWN

_ANALYTIC = cast(Backend, _analytic)


@dataclass(frozen=True)
class Call:
    """A call, and the number of derivatives of it that are wanted."""

    family: Family
    parameters: Sequence[Tensor]
    axis: int
    order: int = 0


def under_transforms(x: Tensor, family: Family, parameters: Sequence[Tensor], axis: int) -> Tensor | None:
    """Return the function at x; None where the formulas must do it."""
    if dispatch_mode_active() or jit_tracing() or not OWN.issuperset(map(type, parameters)):
        return None
    if any(map(is_wrapped, parameters)):
        return None
    found = _derivatives(x, Call(family, parameters, axis))
    return None if found is None else found[0]


def _derivatives(x: Tensor, call: Call) -> list[Tensor] | None:
    """Return the function and its first ``call.order`` derivatives at x, inside the present transforms."""
    transform = innermost_transform()
    if transform is None:
        return native_derivatives(x, call)
    if not transform.concerns(x):
        with transform.outside():
            return _derivatives(x, call)
    if transform.batches:
        x, at = transform.unbatched(x)
        shared = all(p.numel() == 1 for p in call.parameters)
        with transform.outside():
            found = _derivatives(x.movedim(at, 0), replace(call, axis=0 if shared else call.axis + 1))
        return None if found is None else [transform.batched(t) for t in found]
    more = replace(call, order=call.order + 1)
    if transform.reverse:
        with transform.outside():
            found = _derivatives(transform.undifferentiated(x), more)
        if found is None:
            return None
        return [_node(transform, x, call, found, order) for order in range(call.order + 1)]
    if not transform.forward:
        return None
    value, tangent = transform.parts(x)
    with transform.outside():
        found = _derivatives(value, call if tangent is None else more)
        if found is None or tangent is None:
            return found
        moved = [slope * tangent for slope in found[1:]]
    return [transform.dual(t, by) for t, by in zip(found, moved, strict=False)]


def _node(transform: Transform, x: Tensor, call: Call, found: Sequence[Tensor], order: int) -> Tensor:
    """Return ``found[order]``, the derivative of that order at x, so that backward mode of the transform goes on."""
    return transform.differentiable(_Derivative, x, call, found, order)


class _Derivative(SingleLevelFunction):
    """A derivative that is known. Backward multiplies by the next: a node like it, or the formulas behind the last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, transform: Transform, call: Call, found: Sequence[Tensor], order: int) -> Tensor:
        ctx.fixed = transform, call, found, order
        ctx.save_for_backward(x)
        return transform.wrapped(found[order])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        transform, call, found, order = ctx.fixed
        if order + 1 == len(found):
            dx = _by_formulas(plain_if_over(x), g, call, order)
        elif is_alive(x):
            dx = g * _node(transform, x, call, found, order + 1)
        else:
            dx = g * found[order + 1]
        return dx, None, None, None, None


def _by_formulas(x: Tensor, g: Tensor, call: Call, order: int) -> Tensor:
    """Return g times the derivative of order ``order + 1``."""

    def slope(t: Tensor) -> Tensor:
        return call.family.formulas(t, call.parameters, call.axis).slope()

    at: Callable[[Tensor], Tensor] = slope
    if order == 2:
        at = torch.func.grad(lambda t: slope(t).sum())
    pulled: Callable[..., Any] = torch.func.vjp(at, x)[1]
    dx: Tensor = pulled(g)[0]
    return dx


def native_derivatives(x: Tensor, call: Call) -> list[Tensor] | None:
    """Return them at a plain tensor, as functions of the parameters. In a half a second derivative may be too large."""
    if (
        call.order > 2
        or x.dtype not in (torch.float32, torch.float64)
        or type(x) not in OWN
        or not x.is_cpu
        or x.requires_grad
        or is_wrapped(x)
        or not x.numel()
    ):
        return None
    family, parameters = call.family, call.parameters
    backend = choose("auto", family, x, parameters)
    if backend is None or backend is _ANALYTIC or not x.isfinite().all():
        return None  # at the ends the formulas' rules decide what is NaN
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        backend = _ANALYTIC
    value = backend.forward(family, call.axis, x, parameters)
    if not call.order:
        return [value]
    none, needs = (None,) * (1 + len(parameters)), (True, call.order > 1, *(False for _ in parameters))
    found = backend.second(family, call.axis, None, x, parameters, none, needs, every=1.0)
    return [value, *(t for t in found[:2] if t is not None)]
