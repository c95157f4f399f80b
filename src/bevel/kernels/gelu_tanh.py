"""The density whose gate is GELU's approximation by tanh, which GPT-2 and Gemma compute."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bevel._tabulated import gauss_legendre
from bevel._torch_private import plainly_eager, undisturbed
from bevel.kernel import Kernel

_C, _K = 2 * math.sqrt(2 / math.pi), 0.044715  # (1 + tanh z)/2 is σ(2z)
_REACH = 21.6  # the survival is zero in float64
_PANELS, _DEGREE = 32, 9  # of log(1 + v), from -1 to 1 within a panel; the nearest poles are 5 panels away


def _exponent(v: Tensor) -> Tensor:
    """h, of which the survival is σ(−h)."""
    return _C * v * (1 + _K * v * v)


def _ratios(v: Tensor) -> Tensor:
    """``excess/survival`` and ``second/survival`` at a 1-D v.

    They are the integrals over t > 0 of σ(−h(v + t))/σ(−h(v)), which falls as e^{−y} or faster, and of t times that,
    with ``y = h'(v)·t`` up to 44, in 12 panels of 16 nodes.
    """
    nodes, weights = gauss_legendre(16)
    y = ((torch.arange(12, dtype=torch.float64)[:, None] + (nodes + 1) / 2) * (44 / 12)).flatten()
    weights = weights.repeat(12)
    weights = weights / (weights * torch.exp(-y)).sum()  # the last digit
    v = v[:, None]
    start, rate = _exponent(v), _C * (1 + 3 * _K * v * v)
    t = y / rate
    rise = _C * t * (1 + _K * (3 * v * v + 3 * v * t + t * t))  # h(v + t) − h(v)
    ratio = torch.exp(-rise) * (1 + torch.exp(-start)) / (1 + torch.exp(-start - rise)) * weights / rate
    return torch.stack((ratio.sum(1), (t * ratio).sum(1)))


def _table() -> Tensor:
    """The ratios' Chebyshev coefficients in the panels of log(1 + v); powers of t would lose two digits."""
    k = torch.arange(_DEGREE + 1, dtype=torch.float64)
    angles = math.pi * (k + 0.5) / (_DEGREE + 1)
    panels = (torch.arange(_PANELS, dtype=torch.float64)[:, None] + (torch.cos(angles) + 1) / 2) / _PANELS
    values = _ratios(torch.expm1(panels * math.log1p(_REACH)).flatten()).reshape(2, *panels.shape)
    coefficients = values @ torch.cos(angles[:, None] * k) * (2 / (_DEGREE + 1))
    coefficients[..., 0] /= 2
    return coefficients


class GeluTanh(Kernel):
    name = "gelu_tanh"
    formula = "h'(u)·σ(h(u))·σ(-h(u)), h(u) = √(8/π)·(u + 0.044715u³)"
    latex = r"h'(u)\,\sigma(h(u))\,\sigma(-h(u)),\quad h(u) = \sqrt{8/\pi}\,(u + 0.044715\,u^3)"
    use = "Gates: at n = 1 its gate is GELU's approximation by tanh, as GPT-2 and Gemma have it."
    avoid = "Elsewhere: the Gaussian, from which it differs by 3e-4, costs less and has a Triton program of its ReLU."
    native = 14
    reach = _REACH
    # h = (C + D·v²)·v to twice the precision, for exp(-h) shows every rounding h-fold. C and D are sums of two floats,
    # of which float64 makes one number; ``none`` keeps the sums in the dtype of v. It has no excess: gates need none.
    triton = """
    none = 0 * v
    c = (none + 1.5957691669464111) - 4.534068042105272e-08
    d = (none + 0.07135481387376785) + 2.3988323959931355e-09
    c_lost = (1.5957691669464111 - c) - 4.534068042105272e-08
    d_lost = (0.07135481387376785 - d) + 2.3988323959931355e-09
    square = v * v
    square_lost = product_error(v, v) + 2 * v * rest
    cubic = d * square
    cubic_lost = product_error(d, square) + (d_lost * square + d * square_lost)
    pace = c + cubic
    back = pace - c
    pace_lost = ((c - (pace - back)) + (cubic - back)) + (cubic_lost + c_lost)
    h = pace * v
    e = exp_minus(h, product_error(pace, v) + (pace_lost * v + pace * rest))
    upper = reciprocal(1 + e)
    rate = c + 3 * cubic
    survival = e * upper
    density = rate * (survival * upper)
    turn = survival * upper * (6 * d * v - rate * rate * ((1 - e) * upper))
    """

    def __init__(self) -> None:
        with undisturbed():  # wherever the catalog is filled
            self.table = _table()
            self.variance = float(4 * self.second(torch.zeros((), dtype=torch.float64)))

    def density(self, v: Tensor) -> Tensor:
        h = _exponent(v)
        return _C * (1 + 3 * _K * v * v) * torch.sigmoid(h) * torch.sigmoid(-h)

    def survival(self, v: Tensor) -> Tensor:
        return torch.sigmoid(-_exponent(v))

    def excess(self, v: Tensor) -> Tensor:
        return self._tail(0, v)

    def second(self, v: Tensor) -> Tensor:
        return self._tail(1, v)

    def _tail(self, row: int, v: Tensor) -> Tensor:
        if not plainly_eager():  # graphs hold no function of Python, and this one has no rule for forward modes
            return self.from_table(row, v)
        result: Tensor = _Tail.apply(v, self, row)
        return result

    def from_table(self, row: int, v: Tensor) -> Tensor:
        """Return the excess (0) or the second tail integral (1), whose derivative by autograd is that of a table."""
        return self.survival(v) * self._ratio(row, v)

    def _ratio(self, row: int, v: Tensor) -> Tensor:
        table = self.table[row].to(device=v.device, dtype=v.dtype)
        panel = torch.log1p(v) * (_PANELS / math.log1p(_REACH))
        index = panel.detach().nan_to_num(0.0).clamp(0, _PANELS - 1).to(torch.int64)
        t = 2 * (panel - index) - 1
        c = table[index].unbind(-1)
        above, this = torch.zeros_like(t), c[-1]
        for lower in c[-2:0:-1]:  # Clenshaw
            above, this = this, 2 * t * this - above + lower
        return t * this - above + c[0]


class _Tail(torch.autograd.Function):
    """A tail integral with its exact derivative, minus the one before it.

    The table is good to a few units in the last place, its derivative to a thousand: 1e-13, by the machine's exp.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, kernel: GeluTanh, row: int) -> Tensor:
        ctx.kernel, ctx.row = kernel, row
        ctx.save_for_backward(v)
        return kernel.from_table(row, v)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        before: Tensor = ctx.kernel.excess(v) if ctx.row else ctx.kernel.survival(v)
        return -g * before, None, None


ENTRIES = {"gelu_tanh": GeluTanh()}
