"""The function under export, in few standard operators (``Mul``, ``Add``, ``Erf``, ``Exp``, ``Relu``, ``Clip``, …).

One kink smoothed by a Gaussian needs ten of them, an unsmoothed one three in ``torch.export`` and five in ONNX;
everything else takes the composed formulas, whose kernels are portable too. With one knot nothing cancels, so that the
plain form loses no accuracy that the result shows. It drops the guard at x = ±inf, where a flat end gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.family import Affine, Family, Slot
from bevel.kernel import KERNELS, SHARP
from bevel.terms import Coefficient, along, is_zero


def value(family: Family, x: Tensor, parameters: Sequence[Tensor], dim: int) -> Tensor:
    """Return the function at x, in x's dtype; the arguments are those of :func:`bevel.ops.evaluate`, checked."""
    # len, since torch 2.11's dynamo traces no `not` of a tuple
    one = len(family.terms.knots) == 1 and len(family.terms.curve) == 0 and family.only_formulas() is None
    if one and family.kernel is SHARP:
        return _At(family, x, parameters, dim).kinked().to(x.dtype)
    if one and family.kernel is KERNELS["gaussian"]:
        return _At(family, x, parameters, dim).gaussian().to(x.dtype)
    return family.formulas(x, parameters, dim).value().to(x.dtype)


class _At:
    """Coefficients at one x, summed as expressions first, so that ``(1 − α) + α`` is the number 1 and no operator."""

    def __init__(self, family: Family, x: Tensor, parameters: Sequence[Tensor], dim: int) -> None:
        self.x = x if x.dtype == torch.float64 else x.to(torch.float32)
        self.parameters = [p.to(self.x.dtype) for p in parameters]
        self.dim = dim
        self.family = family
        terms = family.terms
        self.left, self.jump, self.step = terms.left, terms.jumps[0], terms.steps[0]
        self.knot = self.number(terms.knots[0])
        self.offset = self.number(terms.offset)

    def number(self, *slots: Slot) -> Coefficient:
        """Return the sum of slots, shaped to broadcast against x."""
        total = Affine(0.0, ())
        for slot in slots:
            total = total + slot
        total = total.without_zeros()
        return along(total.value(self.parameters), self.x, self.dim) if total.indices() else total.constant

    def rise(self, jump: Coefficient) -> Coefficient:
        """Return what is added right of the knot, where the slope multiplies x itself and not x − knot."""
        step = self.number(self.step)
        return step if is_zero(self.knot) else step - jump * self.knot

    def kinked(self) -> Tensor:
        # Runtimes fuse this form, and it is exact. torch.export gets another: the gradient of this one at 0 is 0.
        if torch.onnx.is_in_onnx_export() and is_zero(self.knot) and self.step == 0:
            y = self.number(self.left, self.jump) * torch.relu(self.x) + self.number(self.left) * self.x.clamp(max=0.0)
            return y if is_zero(self.offset) else y + self.offset
        right = self.x > self.knot
        y = self.x * _where(right, self.number(self.left, self.jump), self.number(self.left), self.x)
        rise = self.rise(self.number(self.jump))
        if not is_zero(rise):
            y = y + _where(right, rise, 0.0, self.x)
        return y if is_zero(self.offset) else y + self.offset

    def gaussian(self) -> Tensor:
        terms = self.family.terms
        n = self.number(self.family.n)
        n = torch.exp(n) if self.family.log_n and isinstance(n, Tensor) else n
        t = (self.x if is_zero(self.knot) else self.x - self.knot) * (n * math.sqrt(0.5))
        erf = torch.erf(t)
        jump = self.number(self.jump)
        # t may overflow to ±inf, where erf and exp(−t²) have their limits.
        y = self.x * (self.number(self.left) + 0.5 * jump + 0.5 * jump * erf)
        rise = self.rise(jump)
        if not is_zero(rise):
            y = y + rise * (0.5 + 0.5 * erf)
        bell = self.number(*(() if terms.multiplies_cdf else (self.jump,)), terms.c0[0])
        slope = self.number(terms.c1[0])
        weight = bell if is_zero(slope) else bell + slope * self.x
        if not is_zero(weight):
            y = y + weight * (1 / (n * math.sqrt(2 * math.pi))) * torch.exp(-t * t)
        return y if is_zero(self.offset) else y + self.offset


def _where(mask: Tensor, right: Coefficient, left: Coefficient, like: Tensor) -> Tensor:
    def tensor(c: Coefficient) -> Tensor:
        return c if isinstance(c, Tensor) else torch.full((), c, dtype=like.dtype, device=like.device)

    return torch.where(mask, tensor(right), tensor(left))
