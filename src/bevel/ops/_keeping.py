"""A call that keeps its output for backward, of a backend that does not know the parameters' values (``triton``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops._backends import Backend
from bevel.ops._inverse import axis_of, handed_over, input_of, nan_where_untold, with_handed_over
from bevel.ops._memory import no_address
from bevel.ops._saved import saved
from bevel.ops._second import differentiable


class Keeper(Backend, Protocol):
    """A backend with a pass from the output."""

    def keeps_output(self, family: Family, dtype: torch.dtype, rule: str) -> bool:
        """Whether a call with an input of this dtype keeps its output under a rule of saving."""

    def backward_from_output(
        self, family: Family, dim: int, g: Tensor, y: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return what ``backward`` does, from y; NaN where the parameters do not tell x."""


def keeper(backend: Backend, family: Family, x: Tensor, rule: str) -> Keeper | None:
    """Return the backend, if it keeps the output of this call."""
    if rule == "input" or not hasattr(backend, "keeps_output"):
        return None
    keeping = cast(Keeper, backend)
    return keeping if keeping.keeps_output(family, x.dtype, rule) else None


class KeptOutput(torch.autograd.Function):
    """Save y and the small parameters, as ReLU does; backward finds x from y in the same pass.

    No value is read from the device. Where the parameters of a channel do not tell x, its gradients are NaN.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, family: Family, backend: Keeper, dim: int, *parameters: Tensor) -> Tensor:
        ctx.family, ctx.backend, ctx.dim, ctx.for_input = family, backend, dim, None
        y = backend.forward(family, dim, x, parameters)
        ctx.save_for_backward(y, *parameters)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:
        y, *parameters = saved(ctx, of_output=True)
        more, g = handed_over(ctx, g)
        if g is None:
            return (None if more is None else more.to(y.dtype), *(None,) * (3 + len(parameters)))
        needs = (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        family, dim, backend = ctx.family, ctx.dim, ctx.backend
        if not torch.is_grad_enabled() and g.layout == torch.strided and no_address(g, y, *parameters) is None:
            found = backend.backward_from_output(family, dim, g, y, parameters, needs)
        else:
            x = input_of(family, dim, y, None, parameters, ctx, backend)
            g, x = nan_where_untold(family, dim, y, g, x, parameters)
            found = differentiable(backend, family, axis_of(x, parameters, dim), g, x, parameters, needs)
        dx, *rest = with_handed_over(more, found, y.dtype)
        return (dx, None, None, None, *rest)
