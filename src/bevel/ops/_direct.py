"""The shortest way to backend ``operator``: an ``autograd.Function`` for each family, with all that it needs at hand.

On small tensors Python costs more than the pass: every call of a function counts, more so in a network, whose data have
driven the interpreter's own out of the caches. So a family has its Function ready, which passes tensors through and
nothing else, and the operator itself checks what it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevel._torch_private import bare_apply, dispatch_mode_active
from bevel.family import Family
from bevel.ops import _analytic, _operator
from bevel.ops._memory import OWN, no_address
from bevel.ops._saved import explain


class Direct(NamedTuple):
    """How a family is called at one channel axis: with autograd, or without."""

    apply: Callable[..., Tensor | None]
    forward: Callable[..., Tensor | None]
    packed: Tensor


def direct(family: Family, dim: int) -> Direct | None:
    """Return the call and leave it with the family; None where there are no operators, or no native code for it."""
    found = _direct(family, dim)
    if found is not None:
        family.calls[dim] = found
    return found


@functools.lru_cache(maxsize=256)  # functional calls make a new family each time, equal to the last
def _direct(family: Family, dim: int) -> Direct | None:
    ready = _operator.prepared(family)
    if ready is None:
        return None
    packed, forward, _ = ready
    return Direct(bare_apply(_function(family, dim, ready)), forward, packed)


def _function(family: Family, dim: int, ready: _operator.Prepared) -> type[torch.autograd.Function]:
    packed, run, run_back = ready

    class OperatorBackendCall(torch.autograd.Function):
        """Save x and the parameters; in backward one call of the operator gives all their gradients.

        What forward returns is None where the operator refuses. No transform of torch.func may be active.
        """

        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor | None:
            ctx.to_save = tensors  # what save_for_backward and set_materialize_grads do, without their calls
            ctx.materialize_grads = False
            y: Tensor | None = run(tensors, packed, dim)
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor | None) -> Sequence[Tensor | None]:
            try:
                tensors: tuple[Tensor, ...] = ctx.saved_tensors
            except RuntimeError as error:
                explain(error)
            if g is None:
                return (None,) * len(tensors)
            needs = ctx.needs_input_grad
            if not torch.is_grad_enabled() and not dispatch_mode_active() and OWN.issuperset(map(type, (g, *tensors))):
                try:
                    found = run_back(g, tensors, packed, dim, -1 if all(needs) else _operator.mask(needs))
                except RuntimeError:  # what torch cannot make plain for an operator, as vmap's batches
                    if no_address(g, *tensors) is None:
                        raise
                    found = None
                if found:
                    return tuple(found)
            return _composed(family, dim, g, tensors, needs)

    return OperatorBackendCall


def _composed(
    family: Family, dim: int, g: Tensor, tensors: Sequence[Tensor], needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The same gradients made of torch operations, which can be differentiated and know every kind of tensor."""
    x, *parameters = tensors
    axis = dim % x.dim() if any(p.numel() > 1 for p in parameters) else 0
    return tuple(_analytic.backward(family, axis, g.to_dense(), x, parameters, needs))
