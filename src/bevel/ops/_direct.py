"""The shortest way to backend ``operator``: an ``autograd.Function`` for each family, with all that it needs at hand.

On small tensors Python costs more than the pass: every call of a function counts, more so in a network, whose data have
driven the interpreter's own out of the caches. So a family has its Function ready, which passes tensors through and
nothing else, and the operator itself checks what it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from bevel._torch_private import bare_apply, dispatch_mode_active
from bevel.family import Family
from bevel.ops import _operator
from bevel.ops._backends import Backend
from bevel.ops._inverse import axis_of, handed_over, input_of, is_sharp, may_keep_output, with_handed_over
from bevel.ops._memory import OWN, no_address
from bevel.ops._saved import explain
from bevel.ops._second import differentiable

_OPERATOR = cast(Backend, _operator)


class Direct(NamedTuple):
    """How a family is called at one channel axis: with autograd, or without."""

    apply: Callable[..., Tensor | None]
    forward: Callable[..., Tensor | None]
    packed: Tensor


def direct(family: Family, dim: int, save: str) -> Direct | None:
    """Return the call and leave it with the family; None where there are no operators, or no native code for it."""
    found = _direct(family, dim, save)
    if found is not None:
        family.calls[dim, save] = found
    return found


@functools.lru_cache(maxsize=256)  # functional calls make a new family each time, equal to the last
def _direct(family: Family, dim: int, save: str) -> Direct | None:
    ready = _operator.prepared(family)
    if ready is None:
        return None
    make = _keeping_function if save != "input" and may_keep_output(family) else _function
    return Direct(bare_apply(make(family, dim, ready)), ready.forward, ready.packed)


def _function(family: Family, dim: int, ready: _operator.Prepared) -> type[torch.autograd.Function]:
    packed, run, run_back = ready.packed, ready.forward, ready.backward

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


def _keeping_function(family: Family, dim: int, ready: _operator.Prepared) -> type[torch.autograd.Function]:
    packed, run_back = ready.packed, ready.backward
    sharp = is_sharp(family)
    run = ready.forward_sharp if sharp else ready.forward_smooth
    run_back_from_output = ready.backward_sharp if sharp else ready.backward_smooth

    class OperatorBackendCall(torch.autograd.Function):
        """The same for a function whose output may tell its input: keep y, as ReLU does.

        The operator says what to keep: x itself where, in any channel, y does not tell x. Where a sharp function's
        slopes differ in sign, y and one bit an element do.
        """

        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor | None:
            y: Tensor | None
            y, sides, ctx.keep = run(tensors, packed, dim)
            ctx.to_save = (y, sides, *tensors[1:]) if ctx.keep else (tensors[0], None, *tensors[1:])
            ctx.materialize_grads, ctx.for_input = False, None
            if y is not None and sides is not None:
                ctx.strides = y.stride()
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:
            try:
                kept, sides, *parameters = ctx.saved_tensors
            except RuntimeError as error:
                explain(error, of_output=ctx.keep != 0, untold=True)
            needs = ctx.needs_input_grad
            more = None
            if ctx.for_input is not None:
                more, g = handed_over(ctx, g)
            if g is None:
                return (None if more is None else more.to(kept.dtype), *(None,) * len(parameters))
            if sides is not None and kept.stride() != ctx.strides:  # a hook on saved tensors laid it out anew
                kept = kept.new_empty_strided(kept.shape, ctx.strides).copy_(kept)
            if (
                not torch.is_grad_enabled()
                and not dispatch_mode_active()
                and OWN.issuperset(map(type, (g, kept, *parameters)))
            ):
                bits = -1 if all(needs) else _operator.mask(needs)
                try:
                    if ctx.keep:
                        found = run_back_from_output(g, kept, sides, parameters, packed, dim, bits)
                    else:
                        found = run_back(g, (kept, *parameters), packed, dim, bits)
                except RuntimeError:  # what torch cannot make plain for an operator, as vmap's batches
                    if no_address(g, kept, *parameters) is None:
                        raise
                    found = None
                if found:
                    return tuple(found) if more is None else with_handed_over(more, found, kept.dtype)
            x = input_of(family, dim, kept, sides, parameters, ctx) if ctx.keep else kept
            composed = _composed(family, dim, g, (x, *parameters), needs)
            return composed if more is None else with_handed_over(more, composed, kept.dtype)

    return OperatorBackendCall


def _composed(
    family: Family, dim: int, g: Tensor, tensors: Sequence[Tensor], needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The same gradients so that they can be differentiated, or of any kind of tensor."""
    x, *parameters = tensors
    axis = axis_of(x, parameters, dim)
    return tuple(differentiable(_OPERATOR, family, axis, g, x, parameters, needs))
