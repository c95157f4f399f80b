"""``act(gate)·up``, the middle of a gated feed-forward layer, in one node that keeps gate and up and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevel._torch_private import forward_mode_active, is_watched, plainly_eager
from bevel.family import Family, Slot
from bevel.kernel import KERNELS, SHARP
from bevel.ops import _operator
from bevel.ops._backends import needs_composed, preferred
from bevel.ops._evaluate import evaluate
from bevel.ops._memory import in_memory, no_address
from bevel.ops._saved import saved
from bevel.terms import Terms


class Product(NamedTuple):
    """What is made of ``activation(gate)``: the limit of gate and up, and what is added to up."""

    limit: float | None
    up_offset: float


def act_and_mul(gate: Tensor, up: Tensor, activation: nn.Module, limit: float | None, up_offset: float) -> Tensor:
    """Compute ``activation(min(gate, limit))·(clamp(up, −limit, limit) + up_offset)``; the arguments are checked."""
    product = Product(limit, up_offset)
    fused = _fused(gate, up, activation)
    if fused is not None:
        y: Tensor | None = _Fused.apply(gate, up, (fused, product), *fused.parameters)
        if y is not None:
            return y
    parameters = dict(activation.named_parameters())
    random = activation.training and any(getattr(m, "draws", isinstance(m, nn.RReLU)) for m in activation.modules())
    if needs_composed() or forward_mode_active() or random:  # random slopes cannot be computed again
        return composed(gate, up, activation, parameters.values(), product)
    fixed = activation, tuple(parameters), product
    result: Tensor = _ActAndMul.apply(gate, up, fixed, *parameters.values())
    return result


def composed(
    gate: Tensor,
    up: Tensor,
    activation: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    product: Product,
) -> Tensor:
    """The formula; where a parameter is of half precision, so is the arithmetic."""
    dtype, (limit, up_offset) = gate.dtype, product
    if dtype != torch.float64 and all(p.dtype == torch.float32 for p in parameters):
        gate, up = gate.float(), up.float()  # one rounding, at the end
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return (activation(gate) * (up + up_offset if up_offset else up)).to(dtype)


def _at(activation: nn.Module, parameters: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the module at other parameters than its present ones."""
    return lambda gate: torch.func.functional_call(activation, dict(parameters), (gate,))


def _gradients(
    ctx: Any, g: Tensor, call: Callable[[Sequence[Tensor]], Callable[[Tensor], Tensor]], product: Product
) -> list[Tensor | None]:
    """Return the gradients of (gate, up, *parameters): compute the product again, with its own backward."""
    again = torch.is_grad_enabled()  # with create_graph the derivative goes through to the saved inputs themselves
    with torch.enable_grad():
        kept = saved(ctx)
        gate, up, *parameters = kept if again else [t.detach().requires_grad_(t.requires_grad) for t in kept]
        y = composed(gate, up, call(parameters), parameters, product)
    wanted = [t for t in (gate, up, *parameters) if t.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, g.to_dense(), create_graph=again))
    return [in_memory(next(found)) if t.requires_grad else None for t in (gate, up, *parameters)]


class _ActAndMul(torch.autograd.Function):
    """Keep gate, up and the parameters; backward computes the activation again, with its own backward."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, fixed: tuple[Any, ...], *parameters: Tensor) -> Tensor:
        activation, _, product = ctx.fixed = fixed
        ctx.save_for_backward(gate, up, *parameters)
        return in_memory(composed(gate, up, activation, parameters, product))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        activation, names, product = ctx.fixed

        def call(parameters: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
            return _at(activation, dict(zip(names, parameters, strict=True))) if names else activation

        dgate, dup, *others = _gradients(ctx, g, call, product)
        return (dgate, dup, None, *others)


# ---------------------------------------------------------------------------------------------- in one native pass


class _Native(NamedTuple):
    """A function that the library knows, its parameters, and the operators of its family."""

    family: Family
    parameters: list[Tensor]
    dim: int
    ready: _operator.Prepared


@functools.cache
def _gate(kernel: str) -> Family:
    """``x·cdf(x)``, or ReLU."""
    none = (0.0,)
    terms: Terms[Slot] = Terms(0.0, 0.0, none, (1.0,), none, none, none, multiplies_cdf=kernel != SHARP.name)
    return Family(terms, SHARP if kernel == SHARP.name else KERNELS[kernel], 1.0)


def _torchs_own(activation: nn.Module) -> Family | None:
    """Return torch's activation as a row of the engine, which it is to rounding; None if its forward was replaced."""
    if "forward" in vars(activation):
        return None
    if type(activation) is nn.GELU:
        return _gate("gelu_tanh" if activation.approximate == "tanh" else "gaussian")
    kernel = {nn.SiLU: "logistic", nn.ReLU: SHARP.name}.get(type(activation))
    return None if kernel is None else _gate(kernel)


def _fused(gate: Tensor, up: Tensor, activation: nn.Module) -> _Native | None:
    """Return what one native pass computes, None where it does not know the activation or the tensors."""
    if not gate.is_cpu or not plainly_eager() or preferred() not in ("auto", "operator") or is_watched(activation):
        return None
    family, parameters, dim = _torchs_own(activation), list[Tensor](), 0
    if family is None:
        found = getattr(activation, "as_family", lambda _: None)(gate)
        if found is None:
            return None
        family, parameters, dim = found
    if gate.is_nested or no_address(gate, up, *parameters) is not None or not all(p.is_cpu for p in parameters):
        return None
    ready = _operator.prepared(family)
    return None if ready is None else _Native(family, parameters, dim, ready)


class _Fused(torch.autograd.Function):
    """Keep gate, up and the parameters; backward is one native pass, and the formula where it is differentiated.

    What forward returns is None where the operator refuses.
    """

    @staticmethod
    def forward(
        ctx: Any, gate: Tensor, up: Tensor, fixed: tuple[_Native, Product], *parameters: Tensor
    ) -> Tensor | None:
        native, product = ctx.fixed = fixed
        ctx.save_for_backward(gate, up, *parameters)
        limit = float("inf") if product.limit is None else product.limit
        packed = native.ready.packed
        y: Tensor | None
        y = native.ready.pair_forward((gate, up, *parameters), packed, native.dim, limit, product.up_offset)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        native, product = ctx.fixed
        kept = saved(ctx)
        needs = (*ctx.needs_input_grad[:2], *ctx.needs_input_grad[3:])
        if not torch.is_grad_enabled() and plainly_eager() and no_address(g, *kept) is None:
            limit = float("inf") if product.limit is None else product.limit
            run, packed = native.ready.pair_backward, native.ready.packed
            found = run(g, kept, packed, native.dim, limit, product.up_offset, _operator.mask(needs))
            if found:
                return (*found[:2], None, *found[2:])

        def call(parameters: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda gate: evaluate(gate, native.family, parameters, dim=native.dim)

        dgate, dup, *others = _gradients(ctx, g, call, product)
        return (dgate, dup, None, *others)
