"""FReLU as a plain elementwise Triton kernel: one tile of 1,024 elements a program, 4 warps, nothing loaded ahead.

It is no backend, but what bevel's own programs are measured against: whether it pays that few programs walk many tiles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.ops.triton.launch import Launcher, compiled

TILE, WARPS = 1024, 4

_HEAD = """
@triton.jit
def run({arguments}, a_, b_, count, TILE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    here = at < count
    x = tl.load(x_ + at, mask=here, other=0.0).to(tl.float32)
"""
FORWARD = (
    _HEAD.format(arguments="x_, y_")
    + """
    y = tl.where(x > 0, tl.load(a_) * x, tl.load(b_) * x)
    tl.store(y_ + at, y.to(y_.dtype.element_ty), mask=here)
"""
)
BACKWARD = (
    _HEAD.format(arguments="x_, g_, dx_, sums_")
    + """
    g = tl.load(g_ + at, mask=here, other=0.0).to(tl.float32)
    dx = tl.where(x > 0, tl.load(a_) * g, tl.load(b_) * g)
    tl.store(dx_ + at, dx.to(dx_.dtype.element_ty), mask=here)
    tl.store(sums_ + tl.program_id(0) * 2, tl.sum(tl.where(x > 0, g * x, 0.0)))
    tl.store(sums_ + tl.program_id(0) * 2 + 1, tl.sum(tl.where(x > 0, 0.0, g * x)))
"""
)


class PlainFrelu:
    """y = a·x where x > 0, else b·x, of contiguous tensors of one size."""

    def __init__(self, count: int, a: Tensor, b: Tensor) -> None:
        self._count, self._parameters = count, (a, b)
        self._programs = -(-count // TILE)
        self._forward, self._backward = (
            Launcher(compiled(text), (self._programs, 1, 1), WARPS, (TILE,)) for text in (FORWARD, BACKWARD)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        self._forward(x, y, *self._parameters, self._count)
        return y

    def backward(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return dx, and the gradients of a and b."""
        dx, sums = torch.empty_like(x), torch.empty(self._programs, 2, dtype=torch.float32, device=x.device)
        self._backward(x, g, dx, sums, *self._parameters, self._count)
        return dx, sums.sum(0)
