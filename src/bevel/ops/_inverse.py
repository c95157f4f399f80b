"""From an activation's output back to its input: for which functions that goes, and the slow, obvious way to do it.

The native pass finds x on the way (``native/src/inverse.h``), and so does Triton's (``triton/inverse.py``). What is
here serves second derivatives, batched gradients and tensors without an address, and tests hold the passes to it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from bevel._torch_private import graph_task, will_run
from bevel.family import Affine, Family, Slot, parameter
from bevel.kernel import SHARP
from bevel.ops import _operator
from bevel.ops._memory import no_address
from bevel.terms import Coefficient, Terms, along, is_zero

_TWO_SLOPES: Terms[Slot] = Terms(parameter(1), 0.0, (0.0,), (parameter(0) - parameter(1),), (0.0,), (0.0,), (0.0,))


def is_sharp(family: Family) -> bool:
    """Whether it is ``a·x`` right of 0 and ``b·x`` left of it, a and b its parameters."""
    return family.kernel is SHARP and family.terms == _TWO_SLOPES


def may_keep_output(family: Family) -> bool:
    """Whether there are parameters at which y tells x; the operator says in each call whether they are such.

    A smooth function has one knot, at 0, neither offset nor step, and no flat end. What SAU's forms add to a
    convolution is known for the Gaussian alone.
    """
    t = family.terms
    if t.curve:
        return False
    if family.kernel is SHARP or len(t.knots) != 1 or family.kernel.native < 0:
        return is_sharp(family)
    if not all(map(is_zero, (t.offset, *t.knots, *t.steps))) or is_zero(t.left):
        return False
    plain = not t.multiplies_cdf and is_zero(t.c0[0]) and is_zero(t.c1[0])
    return plain or family.kernel.name == "gaussian"


LEAST_SLOPE = {torch.float64: 1e-290, torch.float32: 1e-30, torch.bfloat16: 1e-30, torch.float16: 1e-4}
"""By y's dtype the slope below which y may be subnormal where x is not."""
LEAST_RATIO = 1e-4
"""Of a smooth function's slopes; below it Halley's steps are too many."""


def tells_by_slopes(family: Family) -> bool:
    """Whether the slopes alone say if y tells x: sharp, a convolution, and SAU's published form for 0 < α ≤ 1."""
    c1 = family.terms.c1
    return may_keep_output(family) and not family.terms.multiplies_cdf and all(map(is_zero, c1))


@functools.lru_cache(maxsize=1024)
def keeps_unseen(family: Family, dtype: torch.dtype, rule: str) -> bool:
    """Whether a call that does not see the parameters' values keeps y for backward under a rule of saving.

    They are on a GPU, where reading them would wait for it, or not there yet, as ``torch.compile`` traces. So ``auto``
    keeps y where the slopes are numbers, which are judged here once; ``output`` keeps y of learnt ones too, and
    backward judges: where they do not tell x it gives NaN.
    """
    if rule == "input" or not tells_by_slopes(family):
        return False
    numbers = not any(isinstance(slot, Affine) for slot in family.terms.flat())
    return rule == "output" or (numbers and bool(tells(family, dtype, ())))


def tells(family: Family, dtype: torch.dtype, parameters: Sequence[Tensor]) -> Tensor:
    """Return whether a y of this dtype tells x, one truth value for each channel, for :func:`tells_by_slopes`.

    Nothing waits for a device. The slopes have one sign and neither is lost in y. A sharp function's are > 0 and the
    one on the right is > ½, so that no y right of 0 is rounded to 0, which counts as left of it. A tail is at most the
    slope on the left, which bounds what a rounding of y does to the slope found.
    """
    terms = family.terms
    values = [p.detach().double() for p in parameters]
    device = values[0].device if values else None

    def value(slot: Slot) -> Tensor:
        if isinstance(slot, Affine):
            return slot.value(values)
        return torch.full((1,), slot, dtype=torch.float64, device=device)

    left, jump, tail = value(terms.left), value(terms.jumps[0]), value(terms.c0[0])
    right = left + jump
    larger, smaller = (f(left.abs(), right.abs()) for f in (torch.maximum, torch.minimum))
    told = (smaller >= LEAST_SLOPE[dtype]) & larger.isfinite() & ((left > 0) == (right > 0))
    if family.kernel is SHARP:
        return told & (left > 0) & (right > 0.5)
    told = told & (smaller >= LEAST_RATIO * larger)
    if is_zero(terms.c0[0]):
        return told
    sign = left.sign()
    return told & (jump * sign >= 0) & (tail * sign >= 0) & (tail.abs() <= left.abs())


def axis_of(x: Tensor, parameters: Sequence[Tensor], dim: int) -> int:
    """Return the channel axis from the front, 0 where all channels share their parameters."""
    return dim % x.dim() if any(p.numel() > 1 for p in parameters) else 0


def input_of(
    family: Family,
    dim: int,
    y: Tensor,
    sides: Tensor | None,
    parameters: Sequence[Tensor],
    node: Any,
    backend: Any = _operator,
) -> Tensor:
    """Return x from what a node kept; its gradient is the node's for x, and y and the parameters get none from it."""
    x: Tensor = _Input.apply(y, family, dim, sides, node, backend, *parameters)
    return x


def _found(
    family: Family, dim: int, y: Tensor, sides: Tensor | None, parameters: Sequence[Tensor], backend: Any
) -> Tensor:
    bare = no_address(y, *parameters) is not None
    if is_sharp(family) and (sides is not None or bare):
        a, b = (along(s, y, dim) for s in parameters)
        right = y > 0 if sides is None else _unpacked(sides, y)
        return torch.where(right, y / a, y / b)
    if is_sharp(family):  # it is the same function of y, with inverse slopes
        return cast(Tensor, backend.forward(family, dim, y, [1 / p for p in parameters]))
    if y.dtype != torch.float64:
        y = y.float()  # x is not a half, though y is
    if bare:
        return bisected(family, axis_of(y, parameters, dim), y, parameters)
    return cast(Tensor, backend.inverse(family, dim, y, parameters))


def nan_where_untold(
    family: Family, axis: int, y: Tensor, g: Tensor, x: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return y's gradient and x: NaN and 1 in a channel where y does not tell x, so that all gradients there are NaN.

    A NaN for x would not do: it is on neither side of a knot, so that a slope's gradient would be 0.
    """
    told = cast(Tensor, along(tells(family, y.dtype, parameters).to(g.device), g, axis)) > 0
    return torch.where(told, g, torch.nan), torch.where(told, x, 1.0)


def _unpacked(sides: Tensor, y: Tensor) -> Tensor:
    """Return the bits, which follow y's memory, as a mask that lies as y does."""
    bits = (sides[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten()[: y.numel()].bool().as_strided(y.shape, y.stride())


class _Input(torch.autograd.Function):
    """x of y and the parameters, for derivatives of the backward pass.

    It was the node's input, so that what comes back for it is the node's gradient for x. Taken through y it would be
    divided by ``f′(x)``, and the node would multiply it by ``f′(x)`` again; what both give the parameters on the way
    cancels. So it is left with the node, which autograd runs later, because y is the node's and gets zeros (one number
    in memory).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        y: Tensor, family: Family, dim: int, sides: Tensor | None, node: Any, backend: Any, *parameters: Tensor
    ) -> Tensor:
        return _found(family, dim, y, sides, parameters, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, ctx.node, ctx.others = inputs[0], inputs[4], (None,) * (len(inputs) - 1)
        ctx.zeros = y.new_zeros(()).expand(y.shape)

    @staticmethod
    def backward(ctx: Any, by_x: Tensor) -> tuple[Tensor | None, ...]:
        if will_run(ctx.node):  # else nothing wants the gradient by x
            with _HANDING:
                pending = ctx.node.for_input = ctx.node.for_input or {}
            before, _ = pending.pop(graph_task(), (None, None))
            pending[graph_task()] = (by_x if before is None else before + by_x, ctx.zeros)
        return (ctx.zeros, *ctx.others)


_HANDING = threading.Lock()


def handed_over(node: Any, g: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return what was left with a node for its input in this run, and g, None if it is but the zeros for y.

    Each run of autograd has its own: others may go on in other threads, or within a hook. What a run left that broke
    off goes with the node.
    """
    by_x, zeros = (node.for_input or {}).pop(graph_task(), (None, None))
    return by_x, None if g is zeros else g


def with_handed_over(
    more: Tensor | None, found: Sequence[Tensor | None], dtype: torch.dtype
) -> tuple[Tensor | None, ...]:
    """Return a node's gradients, that by x in this dtype and with what was left with the node for it."""
    dx, *rest = found
    if dx is None:
        return (None, *rest)
    return ((dx if more is None else dx + more).to(dtype), *rest)


def bisected(family: Family, axis: int, y: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return x from y by 90 halvings in float64 of where it must lie.

    The function is no further from its kinked line than ``w·(|jump| + |c0| + w·|c1|)``, whatever the kernel.
    """
    terms, n = family.coefficients([p.detach().double() for p in parameters])
    at = y.detach().double()
    given: tuple[Coefficient, ...] = (terms.left, terms.jumps[0], terms.c0[0], terms.c1[0], n)
    left, jump, c0, c1, sharpness = (torch.as_tensor(along(c, at, axis), dtype=torch.float64) for c in given)
    sign, right, w = left.sign(), left + jump, 1 / sharpness
    most = w * (jump.abs() + c0.abs() + w * c1.abs())
    low, high = (torch.where(sign * v > 0, v / right, v / left) for v in (at - sign * most, at + sign * most))
    for _ in range(90):
        middle = low + (high - low) / 2
        below = sign * family.formulas(middle, [p.detach() for p in parameters], axis).value() < sign * at
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(at.isinf(), at / right, high).to(y.dtype)
