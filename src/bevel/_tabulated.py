"""Kernels given by their density alone: integrated and interpolated to full precision.

The half line is cut into equal panels. On each, the density is interpolated at Chebyshev points; its survival and
excess are the exact antiderivatives of that polynomial, and so is the second tail integral, so ``excess' = -survival``
and ``survival' = -density`` hold by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bevel._checks import check_positive
from bevel._torch_private import undisturbed
from bevel.errors import InvalidValue
from bevel.kernel import Kernel

_DEGREE = 8  # monomials in t lose about 2^(degree-1) units of rounding; degree 12 would cost three digits
_MAX_PANELS = 4096
_TOLERANCE = 1e-13  # of the largest density, between the nodes; integration gains two digits on it


class TabulatedKernel(Kernel):
    """The kernel that :func:`tabulated` makes.

    Attributes:
        table: float64, (3, panels, degree + 3): monomial coefficients of density, survival and excess in a panel's
            ``t ∈ [-1, 1]``.
        second_table: float64, (panels, degree + 4): the same of the second tail integral.
    """

    reach = 1.0
    compact = True
    native = 13

    def __init__(self, pdf: Callable[[Tensor], Tensor], *, name: str, formula: str = "", support: float = 1.0) -> None:
        self.name = name
        self.formula = formula
        self.support = support
        with undisturbed():  # wherever the caller builds a model: on "meta" there would be nothing to read
            self.table = _build(lambda v: pdf(v * support) * support, name)
            self.second_table = _with_rest(_antiderivative(self.table[2], self.table.shape[1]))
            self.variance = 4 * float(self.second(torch.zeros((), dtype=torch.float64)))

    def _evaluate(self, table: Tensor, v: Tensor) -> Tensor:
        table = table.to(device=v.device, dtype=v.dtype)
        panels = table.shape[0]
        scaled = v * panels
        index = scaled.detach().nan_to_num(0.0).clamp(0, panels - 1).to(torch.int64)
        t = 2 * (scaled - index) - 1
        coefficients = table[index]
        value = coefficients[..., -1]
        for k in range(table.shape[1] - 2, -1, -1):
            value = value * t + coefficients[..., k]
        return torch.where(v < 1, value, torch.where(torch.isnan(v), v, torch.zeros_like(v)))

    def density(self, v: Tensor) -> Tensor:
        return self._evaluate(self.table[0], v)

    def survival(self, v: Tensor) -> Tensor:
        return self._evaluate(self.table[1], v)

    def excess(self, v: Tensor) -> Tensor:
        return self._evaluate(self.table[2], v)

    def second(self, v: Tensor) -> Tensor:
        return self._evaluate(self.second_table, v)


def tabulated(pdf: Callable[[Tensor], Tensor], support: float, name: str = "tabulated") -> Kernel:
    """Make a kernel from an even density that vanishes outside ``[-support, support]``.

    Its standard variable is ``u/support``, so that width ``w`` smooths over ``[-w, w]`` as for every compact kernel.

    Args:
        pdf: maps a 1-D or 2-D float64 tensor to the density there (same shape); it need not be normalized.
        support: finite half-width, > 0, in the units of ``pdf``'s argument. For a density that never vanishes give
            the point from which on it is negligible (its mass beyond is dropped).
        name: shown in messages and reports. Default: ``tabulated``.

    Returns:
        A compact kernel whose forms are integrated and interpolated to full precision.

    Raises:
        InvalidValue: if the support is not finite and > 0, or the density is negative, not even, not finite, has no
            mass, or is too rough for 4096 panels of degree 8 to reach 1e-13 of its maximum.

    Example:
        >>> import torch, bevel
        >>> parabola = bevel.tabulated(lambda u: 4 - u**2, support=2.0, name="parabola")
        >>> round(parabola.gap, 6)  # Epanechnikov's, 3/16
        0.1875
        >>> bevel.smooth(torch.tensor([0.0]), "relu", parabola, n=3.0).item()
        0.0625
    """
    support = check_positive(support, "support", hint="Give the point beyond which pdf is 0.")
    probe = torch.linspace(0, 1, 257, dtype=torch.float64)[1:-1] * support
    there, mirrored = pdf(probe), pdf(-probe)
    if there.shape != probe.shape or not bool(torch.isfinite(there).all()):
        raise InvalidValue(f"pdf must return one finite number per point inside the support; kernel {name!r} does not.")
    if bool((there < 0).any()):
        raise InvalidValue(f"pdf must be >= 0 everywhere; kernel {name!r} reaches {float(there.min())!r}.")
    if not torch.allclose(there, mirrored, rtol=1e-12, atol=1e-300):
        raise InvalidValue(f"pdf must be even, pdf(-u) == pdf(u); kernel {name!r} is not. Symmetrise it first.")
    return TabulatedKernel(pdf, name=name, support=support)


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [-1, 1], from the eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    k = torch.arange(1, count, dtype=torch.float64)
    off = k / torch.sqrt(4 * k * k - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, 2 * vectors[0] ** 2


def _chebyshev(degree: int) -> tuple[Tensor, Tensor]:
    """Return Chebyshev points (first kind) in [-1, 1] and the matrix from values there to monomial coefficients."""
    k = torch.arange(degree + 1, dtype=torch.float64)
    nodes = torch.cos(math.pi * (k + 0.5) / (degree + 1))
    angles = math.pi * (k + 0.5) / (degree + 1)
    weights = 2.0 / (degree + 1) * torch.cos(k[:, None] * angles[None, :])  # values -> Chebyshev coefficients
    weights[0] *= 0.5
    powers = torch.zeros(degree + 1, degree + 1, dtype=torch.float64)  # row j: T_j in monomials
    powers[0, 0] = 1
    powers[1, 1] = 1
    for j in range(2, degree + 1):
        powers[j, 1:] = 2 * powers[j - 1, :-1]
        powers[j] -= powers[j - 2]
    return nodes, powers.T @ weights


def _build(pdf: Callable[[Tensor], Tensor], name: str) -> Tensor:
    nodes, to_monomials = _chebyshev(_DEGREE)
    between = torch.cos(torch.arange(1, _DEGREE + 1, dtype=torch.float64) * (math.pi / (_DEGREE + 1)))
    panels = 16
    while True:
        left = torch.arange(panels, dtype=torch.float64)
        density = pdf((left[:, None] + (nodes + 1) / 2) / panels) @ to_monomials.T
        exact = pdf((left[:, None] + (between + 1) / 2) / panels)
        if not bool(exact.max() > 0):
            raise InvalidValue(f"a density must have mass > 0; kernel {name!r} is 0 wherever it was looked at.")
        power = between[:, None] ** torch.arange(_DEGREE + 1, dtype=torch.float64)
        error = float((density @ power.T - exact).abs().max() / exact.max())
        if error <= _TOLERANCE:
            return _integrate(density, panels)
        if panels >= _MAX_PANELS:
            raise InvalidValue(
                f"a tabulated density must be smooth enough for {_MAX_PANELS} panels of degree {_DEGREE}; kernel "
                f"{name!r} still misses by {error:.1e} of its maximum. Write a Kernel with closed forms instead."
            )
        panels *= 2


def _antiderivative(poly: Tensor, panels: int) -> Tensor:
    """Return each panel's ``∫_v^end-of-panel`` of a polynomial in t as a polynomial in t; ``dv = dt/(2·panels)``."""
    out = torch.zeros(poly.shape[0], poly.shape[1] + 1, dtype=torch.float64)
    out[:, 1:] = -poly / torch.arange(1, poly.shape[1] + 1, dtype=torch.float64)
    out[:, 0] = -out[:, 1:].sum(1)  # zero at t = 1
    return out / (2 * panels)


def _with_rest(poly: Tensor) -> Tensor:
    """Add what lies beyond each panel: the sum of the later panels' totals, which are their values at t = -1."""
    signs = (-1.0) ** torch.arange(poly.shape[1], dtype=torch.float64)
    totals = (poly * signs).sum(1)
    out = poly.clone()
    out[:-1, 0] += totals[1:].flip(0).cumsum(0).flip(0)
    return out


def _integrate(density: Tensor, panels: int) -> Tensor:
    """Normalize the density, and put density, survival and excess into one table."""
    survival = _with_rest(_antiderivative(density, panels))
    mass = 2 * float((survival[0] * (-1.0) ** torch.arange(survival.shape[1], dtype=torch.float64)).sum())
    density, survival = density / mass, survival / mass
    excess = _with_rest(_antiderivative(survival, panels))
    table = torch.zeros(3, panels, excess.shape[1], dtype=torch.float64)
    table[0, :, : density.shape[1]] = density
    table[1, :, : survival.shape[1]] = survival
    table[2] = excess
    return table
