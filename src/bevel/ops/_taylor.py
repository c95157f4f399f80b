"""A call under ``torch.func``: two native passes in the place of the formulas.

A transform sees torch operations only, and each costs it rules of its own. So the transforms are taken off one by one,
the native passes compute value, slope and second derivative of the plain tensor inside, and each transform is given
what it needs: ``vmap`` its batch, forward mode the slope times the tangent, and backward mode
``value + (x − x)·slope``, which has that value and that derivative. The slope is treated like the value, with the
second derivative for its slope. Where more derivatives are taken, or any by a parameter that is itself wrapped, the
formulas are right.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from bevel._torch_func import innermost_transform, is_wrapped
from bevel._torch_private import dispatch_mode_active, jit_tracing
from bevel.family import Family
from bevel.ops import _analytic
from bevel.ops._backends import Backend, choose
from bevel.ops._memory import OWN

_ANALYTIC = cast(Backend, _analytic)


@dataclass(frozen=True)
class _Call:
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
    found = _derivatives(x, _Call(family, parameters, axis))
    return None if found is None else found[0]


def _derivatives(x: Tensor, call: _Call) -> list[Tensor] | None:
    """Return the function and its first ``call.order`` derivatives at x, inside the present transforms."""
    transform = innermost_transform()
    if transform is None:
        return _plain(x, call)
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
            inner = transform.undifferentiated(x)
            found = _derivatives(inner, more)
        if found is None:
            return None
        away = x - inner
        return [t + away * slope for t, slope in itertools.pairwise(found)]
    if not transform.forward:
        return None
    value, tangent = transform.parts(x)
    with transform.outside():
        found = _derivatives(value, call if tangent is None else more)
        if found is None or tangent is None:
            return found
        moved = [slope * tangent for slope in found[1:]]
    return [transform.dual(t, by) for t, by in zip(found, moved, strict=False)]


def _plain(x: Tensor, call: _Call) -> list[Tensor] | None:
    """Return them at a plain tensor, as functions of the parameters. In a half a second derivative may be too large."""
    if (
        call.order > 2
        or x.dtype not in (torch.float32, torch.float64)
        or type(x) not in OWN
        or x.requires_grad
        or is_wrapped(x)
        or not x.numel()
    ):
        return None
    family, parameters = call.family, call.parameters
    backend = choose("auto", family, x, parameters)
    if backend is None or backend is _ANALYTIC or not x.isfinite().all():
        return None  # inf − inf is NaN
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        backend = _ANALYTIC
    value = backend.forward(family, call.axis, x, parameters)
    if not call.order:
        return [value]
    none, needs = (None,) * (1 + len(parameters)), (True, call.order > 1, *(False for _ in parameters))
    found = backend.second(family, call.axis, None, x, parameters, none, needs, every=1.0)
    return [value, *(t for t in found[:2] if t is not None)]
