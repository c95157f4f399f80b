"""The native library as two operators that a compiled graph can hold: ``bevel::evaluate`` and its backward.

They take the family as text, and refer to nothing in the process, because compiled graphs are kept on disk and loaded
by other processes. Only ``torch.compile`` uses the operators; in eager mode the dispatcher costs more than the
``autograd.Function``. Where fusing wins, a compiled graph holds the formulas.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bevel._torch_private import forward_mode_active, func_transforms_active
from bevel.family import Affine, Family, parameter
from bevel.kernel import SHARP
from bevel.ops import _analytic, _cpu, _operator
from bevel.ops._backends import Backend
from bevel.ops._inverse import bisected, keeps_unseen, nan_where_untold, tells
from bevel.ops._text import read, text_of
from bevel.terms import along

_library: Any = torch.library.Library("bevel", "DEF")  # type: ignore[no-untyped-call]
_FAMILY = "Tensor[] parameters, Tensor? n, str family, int dim, bool keep_output"  # whether backward takes y, and not x
_library.define(f"evaluate(Tensor x, {_FAMILY}) -> Tensor")
_library.define(f"evaluate_backward(Tensor g, Tensor kept, {_FAMILY}) -> Tensor[]")


def _family(text: str, n: Tensor | None) -> Family:
    return read(text) if n is None else read(text, n.item())


def _native() -> Backend:
    """The shorter of the two ways into the library."""
    return cast(Backend, _cpu if _operator.unavailable() else _operator)


def _forward(
    x: Tensor, parameters: Sequence[Tensor], n: Tensor | None, text: str, dim: int, keep_output: bool
) -> Tensor:
    return _native().forward(_family(text, n), dim, x, parameters)


def _backward(
    g: Tensor, kept: Tensor, parameters: Sequence[Tensor], n: Tensor | None, text: str, dim: int, keep_output: bool
) -> list[Tensor]:
    family, needs = _family(text, n), (True,) * (1 + len(parameters))
    if not keep_output:
        found = _native().backward(family, dim, g, kept, parameters, needs)
    elif _operator.unavailable() is None and bool(tells(family, kept.dtype, parameters).all()):
        found = _operator.backward_from_output(family, dim, g, kept, parameters, needs)
    else:
        wide = torch.promote_types(kept.dtype, torch.float32)  # x is not a half, though y is
        x = bisected(family, dim, kept.to(wide), parameters)
        g, x = nan_where_untold(family, dim, kept, g.to(wide), x, parameters)
        dx, *rest = _native().backward(family, dim, g, x, parameters, needs)
        found = [None if dx is None else dx.to(kept.dtype), *rest]
    return [d for d in found if d is not None]


_library.impl("evaluate", _forward, "CPU")
_library.impl("evaluate_backward", _backward, "CPU")


def _fake_forward(x: Tensor, parameters: Sequence[Tensor], *rest: Any) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(g: Tensor, x: Tensor, parameters: Sequence[Tensor], *rest: Any) -> list[Tensor]:
    return [torch.empty_like(x), *(torch.empty_like(p) for p in parameters)]


torch.library.register_fake("bevel::evaluate", _fake_forward, lib=_library)
torch.library.register_fake("bevel::evaluate_backward", _fake_backward, lib=_library)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, parameters, n, *ctx.rest = inputs
    ctx.save_for_backward(output if ctx.rest[-1] else x, n, *parameters)


def _autograd(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    kept, n, *parameters = ctx.saved_tensors
    dx, *grads = torch.ops.bevel.evaluate_backward(g, kept, parameters, n, *ctx.rest)
    return (dx, grads, None, *(None for _ in ctx.rest))


torch.library.register_autograd("bevel::evaluate", _autograd, setup_context=_setup_context, lib=_library)


def evaluate(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor], save: str) -> Tensor | None:
    """Make a traced call one node of the graph; None where the caller is to compute the formulas.

    One sharpness that is a parameter of its own and needs no gradient goes to the operator apart from the others: the
    native pass then takes its present number as a constant, and computes no gradient for it.
    """
    text = family.text or text_of(family, _as_constant)
    if not text:
        return None
    way, keep_output, place = _decide(text, x.device.type, x.dtype, save)
    if way == "operator":
        n = None
        if 0 <= place == len(parameters) - 1 and parameters[-1].numel() == 1 and not parameters[-1].requires_grad:
            *parameters, n = parameters
            n = n.clone()  # for backward: DistributedDataParallel writes to buffers between two forwards
        y: Tensor = torch.ops.bevel.evaluate(x, list(parameters), n, text, dim, keep_output)
        return y
    return None if way == "formulas" else cast(Tensor, _composed(x, list(parameters), text, dim, keep_output))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _as_constant(parts: list[Any]) -> str:
    return json.dumps(parts)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _decide(text: str, device: str, dtype: torch.dtype, rule: str) -> tuple[str, bool, int]:
    """Return which way a call goes, whether it keeps its output, and the place of the parameter that is n alone, or -1.

    The ways are ``operator``; ``composed``, the formulas as one node; and ``formulas``. torch.compile makes constants
    of what is returned. Measured (docs/performance.md): where the formulas have an exponential or a root the
    native pass wins although it cannot be fused with its neighbours; without smoothing fusing wins. An
    ``autograd.Function`` knows neither jvp nor vmap, and the operator no transform of torch.func.
    """
    family = read(text)
    kernel = family.kernel
    keep_output = keeps_unseen(family, dtype, rule)
    native = kernel is not SHARP and not family.has_products and _cpu.no_code_for(family) is None
    if native and device == "cpu" and _cpu.unavailable() is None and not func_transforms_active():
        return "operator", keep_output, _place_of_n(family)
    table = any(isinstance(v, Tensor) for v in vars(kernel).values())  # would be no fake tensor
    if table or func_transforms_active() or forward_mode_active():
        return "formulas", False, -1
    return "composed", kernel is SHARP and keep_output, -1


class _Explicit(torch.autograd.Function):
    """The formulas of a sharp function, with a backward from x, or from y, alone.

    Of autograd's own backward the partitioner keeps slopes, a mask and a guarded copy of x besides: in a ViT 1.60 times
    the bytes that it keeps of ReLU, and of this one 1.22 or 1.00.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, family: Family, dim: int, keep_output: bool, *parameters: Tensor) -> Tensor:
        y = family.formulas(x, parameters, dim).value().to(x.dtype)
        ctx.family, ctx.dim, ctx.keep_output = family, dim, keep_output
        ctx.save_for_backward(y if keep_output else x, *parameters)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        dtype, family, dim = x.dtype, ctx.family, ctx.dim
        if ctx.keep_output:
            g, x = nan_where_untold(family, dim, x, g, _divided(dim, x, parameters), parameters)
        needs = (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:])
        dx, *rest = _analytic.backward(family, dim, g, x, parameters, needs)
        return (None if dx is None else dx.to(dtype), None, None, None, *rest)


def _divided(dim: int, y: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return a sharp function's x, from y and its two slopes, at least in float32."""
    wide = torch.promote_types(y.dtype, torch.float32)
    right, left = (along(p.to(wide), y, dim) for p in parameters)
    return y.to(wide) / torch.where(y > 0, right, left)


def _place_of_n(family: Family) -> int:
    """Return the index of the parameter that is n, and nothing else; -1 if there is none."""
    if family.log_n or not isinstance(family.n, Affine):
        return -1
    (index, *others), slots = family.n.indices(), family.terms.flat()
    used = any(index in slot.indices() for slot in slots if isinstance(slot, Affine))
    return -1 if used or others or family.n != parameter(index) else index


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _composed(x: Tensor, parameters: Sequence[Tensor], text: str, dim: int, keep_output: bool) -> Tensor:
    """Compute the formulas, on the fake tensors of a trace.

    torch.compile sees one node. To interpret the formulas' Python takes it 9,000 instructions and 0.7 s for each
    activation of a network.
    """
    family = read(text)
    if family.kernel is SHARP:
        result: Tensor = _Explicit.apply(x, family, dim, keep_output, *parameters)
        return result
    return family.formulas(x, parameters, dim).value().to(x.dtype)
