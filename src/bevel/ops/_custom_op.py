"""The native library as two operators that a compiled graph can hold: ``bevel::evaluate`` and its backward.

Their arguments spell the family out as numbers and the kernel's name, and refer to nothing in the process, because
compiled graphs are kept on disk and loaded by other processes. Only ``torch.compile`` uses the operators; in eager mode
the dispatcher costs more than the ``autograd.Function``. Where fusing wins, a compiled graph holds the formulas, which
:func:`composed` hands over.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bevel._torch_private import forward_mode_active, func_transforms_active
from bevel.family import Affine, Family, Slot, constant_of, parameter
from bevel.kernel import KERNELS, SHARP, Kernel
from bevel.ops import _analytic, _cpu, _operator
from bevel.ops._backends import Backend
from bevel.ops._inverse import bisected, keeps_unseen, nan_where_untold, tells
from bevel.terms import GROUPS, Terms, along

_FAMILY = (
    "str kernel, bool multiplies_cdf, bool log_n, bool bends, float[] constants, int[] places, float[] weights, "
    "int dim, bool keep_output"  # whether backward takes y, and not x
)
_library: Any = torch.library.Library("bevel", "DEF")  # type: ignore[no-untyped-call]
_library.define(f"evaluate(Tensor x, Tensor[] parameters, Tensor? n, {_FAMILY}) -> Tensor")
_library.define(f"evaluate_backward(Tensor g, Tensor kept, Tensor[] parameters, Tensor? n, {_FAMILY}) -> Tensor[]")

Spelled = tuple[str, bool, bool, bool, list[float], list[int], list[float]]


def spell(family: Family) -> Spelled:
    """Write a family as the operators' arguments; ``places`` are (slot, parameter) pairs, in the order of its slots."""
    constants: list[float] = []
    places: list[int] = []
    weights: list[float] = []
    for slot, value in enumerate(family.slots()):
        constants.append(constant_of(value))
        for index, weight in value.weights if isinstance(value, Affine) else ():
            places += [slot, index]
            weights.append(weight)
    t = family.terms
    return family.kernel.name, t.multiplies_cdf, family.log_n, bool(t.curve), constants, places, weights


@functools.lru_cache(maxsize=256)
def _read(
    kernel: str,
    multiplies_cdf: bool,
    log_n: bool,
    bends: bool,
    constants: tuple[float, ...],
    places: tuple[int, ...],
    weights: tuple[float, ...],
    sharpness: float | None,
) -> Family:
    """Return the family that :func:`spell` wrote; ``sharpness``, if given, takes the place of its n."""
    terms: dict[int, list[tuple[int, float]]] = {}
    for slot, index, weight in zip(places[::2], places[1::2], weights, strict=True):
        terms.setdefault(slot, []).append((index, weight))
    slots: list[Slot] = [Affine(c, tuple(terms[i])) if i in terms else c for i, c in enumerate(constants)]
    *flat, n = slots
    none = (0.0,) * ((len(flat) - 2 - bends) // (len(GROUPS) + bends))  # as with_flat counts
    empty: Terms[Slot] = Terms(0.0, 0.0, none, none, none, none, none, multiplies_cdf)
    return Family(empty.with_flat(flat), KERNELS[kernel], n if sharpness is None else sharpness, log_n)


def family_of(n: Tensor | None, spelled: Sequence[Any]) -> Family:
    kernel, multiplies_cdf, log_n, bends, constants, places, weights = spelled
    sharpness = None if n is None else n.item()
    return _read(kernel, multiplies_cdf, log_n, bends, tuple(constants), tuple(places), tuple(weights), sharpness)


def _native() -> Backend:
    """The shorter of the two ways into the library."""
    return cast(Backend, _cpu if _operator.unavailable() else _operator)


def _forward(x: Tensor, parameters: Sequence[Tensor], n: Tensor | None, *given: Any) -> Tensor:
    *spelled, dim, _ = given
    return _native().forward(family_of(n, spelled), dim, x, parameters)


def _backward(g: Tensor, kept: Tensor, parameters: Sequence[Tensor], n: Tensor | None, *given: Any) -> list[Tensor]:
    *spelled, dim, keep_output = given
    family, needs = family_of(n, spelled), (True,) * (1 + len(parameters))
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
    nothing: Iterator[list[Any] | None] = (
        [] if value == [] else None for value in ctx.rest
    )  # torch takes an empty list for the gradient of an empty list
    return (dx, grads, None, *nothing)


torch.library.register_autograd("bevel::evaluate", _autograd, setup_context=_setup_context, lib=_library)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def keeps_output(family: Family, dtype: torch.dtype, rule: str) -> bool:
    """See :func:`bevel.ops._inverse.keeps_unseen`. It is asked while tracing, of a family that was there before."""
    return keeps_unseen(family, dtype, rule)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_operator() -> bool:
    """Whether there is a library, and no transform of torch.func (the operator has no rule); asked while tracing."""
    return _cpu.unavailable() is None and not func_transforms_active()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _plain() -> bool:
    """Whether only autograd's backward mode differentiates: an ``autograd.Function`` knows neither jvp nor vmap."""
    return not (func_transforms_active() or forward_mode_active())


def takes(family: Family, x: Tensor) -> bool:
    """Whether a compiled graph should call the operator instead of holding the formulas.

    Measured (docs/performance.md): where the formulas have an exponential or a root the native pass wins although it
    cannot be fused with its neighbours; without smoothing there is nothing to compute, and fusing wins.
    """
    named = 0 < family.kernel.native != 13  # a kernel of the catalog, which the operator can name
    named = named and not family.has_products  # nor can it spell those
    return named and _cpu.no_code_for(family) is None and x.device.type == "cpu" and _has_operator()


def evaluate(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor], save: str) -> Tensor:
    """Call the operator, for a traced call.

    One sharpness that is a parameter of its own and needs no gradient goes apart from the others: the native pass then
    takes its present number as a constant, and computes no gradient for it.
    """
    kernel, multiplies_cdf, log_n, bends, constants, places, weights = spell(family)
    last, n = len(parameters) - 1, None
    alone = not log_n and family.n == parameter(last) and parameters[last].numel() == 1
    if alone and not parameters[last].requires_grad:
        *parameters, n = parameters
        n = n.clone()  # for backward: DistributedDataParallel writes to buffers between two forwards
        constants[-1], places, weights = 1.0, places[:-2], weights[:-1]
    spelled = kernel, multiplies_cdf, log_n, bends, constants, places, weights
    keep_output = save != "input" and keeps_output(family, x.dtype, save)
    result: Tensor = torch.ops.bevel.evaluate(x, list(parameters), n, *spelled, dim, keep_output)
    return result


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


def fuses(family: Family, lasting: bool) -> bool:
    """Whether :func:`composed` takes a traced call, whose formulas are to be fused with their neighbours.

    Args:
        family: what is called.
        lasting: whether it was there before the call, as a module's is; torch.compile makes no constant of another.
    """
    return (family.kernel is SHARP or (lasting and _is_text(family.kernel))) and _plain()


def composed(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor], save: str, lasting: bool) -> Tensor:
    """Make a traced call of the formulas.

    Of a lasting family torch.compile sees one node, and the formulas themselves run on its fake tensors. To interpret
    their Python, as it does else, takes 9,000 instructions and 0.7 s for each activation of a network.
    """
    keep_output = family.kernel is SHARP and save != "input" and keeps_output(family, x.dtype, save)
    if not lasting:
        return _composed(x, parameters, family, dim, keep_output)
    y: Tensor = _one_node(x, list(parameters), _written(family), dim, keep_output)
    return y


def _composed(x: Tensor, parameters: Sequence[Tensor], family: Family, dim: int, keep_output: bool) -> Tensor:
    if family.kernel is SHARP:
        result: Tensor = _Explicit.apply(x, family, dim, keep_output, *parameters)
        return result
    return family.formulas(x, parameters, dim).value().to(x.dtype)


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _one_node(x: Tensor, parameters: Sequence[Tensor], written: str, dim: int, keep_output: bool) -> Tensor:
    return _composed(x, parameters, _read_whole(written), dim, keep_output)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_text(kernel: Kernel) -> bool:
    """Whether the kernel's name tells all of it: one of the catalog without a table, which would be no fake tensor."""
    return KERNELS.get(kernel.name) is kernel and not any(isinstance(v, Tensor) for v in vars(kernel).values())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _written(family: Family) -> str:
    """Write a family down for :func:`_read_whole`: like :func:`spell`, with products and the sides of knots."""
    slots = [dataclasses.astuple(s) if isinstance(s, Affine) else s for s in family.slots()]
    t = family.terms
    return json.dumps([family.kernel.name, slots, len(t.knots), t.multiplies_cdf, t.sides, family.log_n])


@functools.lru_cache(maxsize=256)
def _read_whole(text: str) -> Family:
    kernel, slots, count, multiplies_cdf, sides, log_n = json.loads(text)
    *flat, n = (_affine(*slot) if isinstance(slot, list) else slot for slot in slots)
    none = (0.0,) * count
    empty: Terms[Slot] = Terms(0.0, 0.0, none, none, none, none, none, multiplies_cdf, sides=tuple(sides))
    return Family(empty.with_flat(flat), SHARP if kernel == SHARP.name else KERNELS[kernel], n, log_n)


def _affine(constant: float, weights: list[list[Any]], products: list[list[Any]]) -> Affine:
    pairs = tuple(((i, j), weight) for (i, j), weight in products)
    return Affine(constant, tuple((index, weight) for index, weight in weights), pairs)
