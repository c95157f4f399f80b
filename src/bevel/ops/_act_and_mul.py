"""``act(gate)·up``, the middle of a gated feed-forward layer, in one node that keeps gate and up and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bevel._torch_private import forward_mode_active
from bevel.ops._backends import needs_composed
from bevel.ops._memory import in_memory
from bevel.ops._saved import saved


def act_and_mul(gate: Tensor, up: Tensor, activation: nn.Module, limit: float | None, up_offset: float) -> Tensor:
    """Compute ``activation(min(gate, limit))·(clamp(up, −limit, limit) + up_offset)``; the arguments are checked."""
    parameters = dict(activation.named_parameters())
    random = activation.training and any(getattr(m, "draws", isinstance(m, nn.RReLU)) for m in activation.modules())
    if needs_composed() or forward_mode_active() or random:  # random slopes cannot be computed again
        return _composed(gate, up, activation, parameters, limit, up_offset)
    fixed = activation, tuple(parameters), limit, up_offset
    result: Tensor = _ActAndMul.apply(gate, up, fixed, *parameters.values())
    return result


def _composed(
    gate: Tensor,
    up: Tensor,
    activation: nn.Module,
    parameters: Mapping[str, Tensor],
    limit: float | None,
    up_offset: float,
    *,
    given: bool = False,
) -> Tensor:
    """The formula; where they are ``given``, at other parameters than the module's present ones."""
    dtype = gate.dtype
    if dtype != torch.float64 and all(p.dtype == torch.float32 for p in parameters.values()):
        gate, up = gate.float(), up.float()  # one rounding, at the end
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    y: Tensor = torch.func.functional_call(activation, dict(parameters), (gate,)) if given else activation(gate)
    return (y * (up + up_offset if up_offset else up)).to(dtype)


class _ActAndMul(torch.autograd.Function):
    """Keep gate, up and the parameters; backward computes the activation again, with its own backward."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, fixed: tuple[Any, ...], *parameters: Tensor) -> Tensor:
        activation, names, limit, up_offset = ctx.fixed = fixed
        ctx.save_for_backward(gate, up, *parameters)
        return in_memory(_composed(gate, up, activation, dict(zip(names, parameters, strict=True)), limit, up_offset))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # with create_graph the derivative goes through to the saved inputs themselves
        activation, names, limit, up_offset = ctx.fixed
        with torch.enable_grad():
            kept = saved(ctx)
            gate, up, *parameters = kept if again else [t.detach().requires_grad_(t.requires_grad) for t in kept]
            at = dict(zip(names, parameters, strict=True))
            y = _composed(gate, up, activation, at, limit, up_offset, given=bool(names))
        wanted = [t for t in (gate, up, *parameters) if t.requires_grad]
        found = iter(torch.autograd.grad(y, wanted, g.to_dense(), create_graph=again))
        dgate, dup, *others = [in_memory(next(found)) if t.requires_grad else None for t in (gate, up, *parameters)]
        return (dgate, dup, None, *others)
