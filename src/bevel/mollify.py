"""A kinked function convolved with an approximate identity, as a value with a proven error bound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel.kernel import Kernel, as_kernel
from bevel.kinked import PiecewiseLinear
from bevel.terms import Coefficient, Formulas, as_sharpness, is_zero


def _size(c: Coefficient) -> float:
    return float(c.detach().abs().max()) if isinstance(c, Tensor) else abs(c)


def _drift(f: PiecewiseLinear) -> float:
    return sum(_size(j) for j in f.jumps)


@dataclass(frozen=True, eq=False)
class Smooth:
    """``f * phi_n`` for a kinked ``f`` and ``phi_n(x) = n·phi(n·x)``; make one with :func:`mollify`."""

    f: PiecewiseLinear
    kernel: Kernel
    n: Coefficient
    dim: int = 1

    def _formulas(self, x: Tensor) -> Formulas:
        if x.dtype not in (torch.float32, torch.float64):
            raise InvalidValue(f"x must be float32 or float64; got {x.dtype}. bevel.smooth takes the half precisions.")
        return Formulas(x, self.f.terms, self.kernel, self.n, self.dim)

    def __call__(self, x: Tensor) -> Tensor:
        """The smoothed function, elementwise; float32 or float64, same shape out."""
        return self._formulas(x).value()

    def slope(self, x: Tensor) -> Tensor:
        """Its derivative in x."""
        return self._formulas(x).slope()

    def curvature(self, x: Tensor) -> Tensor:
        """Its second derivative in x."""
        return self._formulas(x).curvature()

    @property
    def max_error(self) -> float:
        """A proven bound on ``|f * phi_n − f|`` over all x: ``w·gap·Σ|jumpᵢ| + ½·Σ|stepᵢ|``.

        Attained at the knot of a function with one kink or one step. Per-channel coefficients give the worst channel's.
        """
        n = float(self.n.detach().min()) if isinstance(self.n, Tensor) else self.n
        ramps = _drift(self.f)
        gap = self.kernel.gap if ramps else 0.0
        return ramps * gap / n + 0.5 * sum(_size(s) for s in self.f.steps)


def mollify(f: PiecewiseLinear, kernel: str | Kernel = "gaussian", n: Coefficient = 1.0, *, dim: int = 1) -> Smooth:
    """Convolve ``f`` with the approximate identity ``n·pdf(n·x)``.

    Args:
        f: a kinked function, e.g. ``bevel.kinked.relu()``.
        kernel: a kernel or its name in ``bevel.KERNELS``.
        n: sharpness, finite and > 0 (the smoothing width is 1/n); a 1-D tensor for one per channel along ``dim``.

    Raises:
        InvalidValue: for a bad ``n``, or a kernel without a first moment where ``f`` has a change of slope.
    """
    kernel = as_kernel(kernel)
    f.terms.check(kernel)
    return Smooth(f, kernel, as_sharpness(n), dim)


def sharpness_for(f: PiecewiseLinear, kernel: str | Kernel = "gaussian", tolerance: float = 1e-3) -> float:
    """The smallest sharpness n at which ``|f * phi_n − f| <= tolerance`` is proven: ``gap·Σ|jumpᵢ| / tolerance``.

    Raises:
        InvalidValue: if ``tolerance`` is not a finite number > 0, or ``f`` has steps: a smoothed step stays half its
            height away from the step at any n.
    """
    kernel = as_kernel(kernel)
    f.terms.check(kernel)
    if not 0 < tolerance < float("inf"):
        raise InvalidValue(f"tolerance must be finite and > 0; got {tolerance!r}.")
    if any(not is_zero(s) for s in f.steps):
        raise InvalidValue("a function with steps has no n for a uniform tolerance: half of each step always remains.")
    ramps = _drift(f)
    if ramps == 0:
        raise InvalidValue("f is a straight line: any n is exact. There is no smallest sharpness to return.")
    return ramps * kernel.gap / tolerance
