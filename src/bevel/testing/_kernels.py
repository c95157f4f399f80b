"""The laws of kernels and of mollified functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bevel._mollify import mollify
from bevel._tabulated import gauss_legendre
from bevel.formulas import Formulas
from bevel.kernel import SHARP, Kernel, as_kernel, derivative
from bevel.kinked import PiecewiseLinear, as_function
from bevel.testing._laws import close, expect

_QUADRATURE = 1e-12  # composite Gauss-Legendre reaches 1e-14 for densities that are smooth on the half line


def _beyond(integrand: Callable[[Tensor], Tensor], v: Tensor, end: float) -> Tensor:
    """Return ``∫_v^end integrand`` for each v, by 256 panels of 16 nodes; s = v + t/(1-t) maps an infinite end."""
    nodes, weights = gauss_legendre(16)
    panels = 256
    t = ((torch.arange(panels, dtype=torch.float64)[:, None] + (nodes + 1) / 2) / panels).reshape(-1)
    w = (weights / (2 * panels)).repeat(panels)
    if end == float("inf"):
        s, ds = v[:, None] + t / (1 - t), 1 / (1 - t) ** 2
    else:
        s, ds = v[:, None] + t * (end - v[:, None]), (end - v)[:, None].expand(-1, len(t))
    return (integrand(s) * ds * w).sum(1)


def check_kernel(kernel: str | Kernel) -> list[str]:
    """Check an approximate identity: its three forms against quadrature of its density, limits and derivatives.

    The laws: a non-negative density; unit mass; evenness; survival and cdf, excess, moment and gap against
    quadrature, and second tail integral and variance where there are any; each form the derivative of the next but for
    its sign; zero at its reach; NaN kept; float32 kept.

    Args:
        kernel: a kernel or its name in ``bevel.KERNELS``.

    Returns:
        The names of the laws, all of which hold.

    Raises:
        AssertionError: naming the first law that does not hold.

    Example:
        >>> from bevel.testing import check_kernel
        >>> check_kernel("box")[:3]
        ['density is not negative', 'unit mass', 'evenness']
    """
    kernel = as_kernel(kernel)
    end = 1.0 if kernel.compact else float("inf")
    v = torch.linspace(0, 1, 41, dtype=torch.float64) * (0.999 if kernel.compact else 8.0)
    density = kernel.density(v)
    far = torch.tensor([float("inf")], dtype=torch.float64)
    nan = torch.tensor([float("nan")], dtype=torch.float64)
    half_mass = _beyond(kernel.density, torch.zeros(1, dtype=torch.float64), end)
    laws = [
        expect("density is not negative", (density >= 0).all(), f"it reaches {float(density.min())}"),
        close("unit mass", 2 * half_mass, torch.ones(1, dtype=torch.float64), _QUADRATURE),
        expect("evenness", torch.equal(kernel.pdf(v), kernel.pdf(-v)), "pdf(u) differs from pdf(-u)"),
        close("survival against quadrature", kernel.survival(v), _beyond(kernel.density, v, end), _QUADRATURE),
        close("cdf(u) + cdf(-u) = 1", kernel.cdf(v) + kernel.cdf(-v), torch.ones_like(v), _QUADRATURE),
        close("survival is zero far out", kernel.cdf(-far), torch.zeros(1, dtype=torch.float64), 1e-300),
        expect("NaN is kept", kernel.cdf(nan).isnan(), "it became a number"),
        expect("dtype is kept", kernel.cdf(v.float()).dtype == torch.float32, "float32 in, another dtype out"),
        _derivative("survival' = -density", kernel.survival, kernel.density, v),
    ]
    if kernel.has_moment:
        laws += _check_moment(kernel, v, end)
    if kernel.variance is not None and kernel.variance < math.inf:
        laws += _check_second(kernel, v, end)
    return laws


def _check_moment(kernel: Kernel, v: Tensor, end: float) -> list[str]:
    zero = torch.zeros(1, dtype=torch.float64)
    far = torch.tensor([float("inf")], dtype=torch.float64)
    moment = _beyond(lambda s: s * kernel.density(s), v, end)
    return [
        close("moment against quadrature", kernel.moment(v), moment, _QUADRATURE),
        close("excess against quadrature", kernel.excess(v), moment - v * _beyond(kernel.density, v, end), _QUADRATURE),
        close("gap = tail(0)", zero + kernel.gap, kernel.tail(zero), 0.0),
        close("ramp is zero far left", kernel.ramp(-far), zero, 0.0),
        expect("ramp is infinite far right", kernel.ramp(far) == far, f"it is {float(kernel.ramp(far))}"),
        _derivative("excess' = -survival", kernel.excess, kernel.survival, v),
    ]


def _check_second(kernel: Kernel, v: Tensor, end: float) -> list[str]:
    assert kernel.variance is not None
    zero, far = (torch.tensor([at], dtype=torch.float64) for at in (0.0, math.inf))
    want = _beyond(lambda s: 0.5 * s * s * kernel.density(s), v, end)
    want = want - v * kernel.moment(v) + 0.5 * v * v * kernel.survival(v)
    variance = zero + kernel.variance
    return [
        close("second against quadrature", kernel.second(v), want, _QUADRATURE * (1 + kernel.variance)),
        close("variance = 4·second(0)", variance, 4 * kernel.second(zero), 1e-15 * (1 + kernel.variance)),
        close("second is zero far out", kernel.second(far.clamp(max=kernel.reach)), zero, 1e-300),
        _derivative("second' = -excess", kernel.second, kernel.excess, v),
    ]


def _derivative(law: str, of: Callable[[Tensor], Tensor], minus: Callable[[Tensor], Tensor], v: Tensor) -> str:
    return close(law, derivative(of, v), -minus(v), _QUADRATURE)


def around(f: PiecewiseLinear, n: float) -> tuple[list[float], Tensor]:
    """Return the knots (or 0 if there are none) and points up to four widths and one unit beyond them."""
    knots = [float(k) for k in f.knots] or [0.0]
    return knots, torch.linspace(min(knots) - 4 / n - 1, max(knots) + 4 / n + 1, 801, dtype=torch.float64)


def _rest(f: PiecewiseLinear, kernel: Kernel, n: float, x: Tensor) -> Tensor:
    """What a smoothed bend keeps away from its knot: half the variance times the second derivative there."""
    return 0.5 * (kernel.variance or 0.0) / n**2 * Formulas(x, f.terms, SHARP, 1.0).curvature()


def check_mollified(f: PiecewiseLinear | str, kernel: str | Kernel, n: float) -> list[str]:
    """Check ``f * phi_n`` against f, its bound, and its own derivatives.

    The laws: the proven bound; monotone where f is; equal to f outside a compact kernel's support, up to
    ``½·variance·w²·f″`` where f has bends; slope and curvature the derivatives of value and slope.

    Args:
        f: a kinked function of numbers, or its name.
        kernel: a kernel or its name in ``bevel.KERNELS``.
        n: sharpness, finite and > 0.

    Returns:
        The names of the laws, all of which hold.

    Raises:
        AssertionError: naming the first law that does not hold.

    Example:
        >>> from bevel.testing import check_mollified
        >>> check_mollified("relu6", "box", n=2.0)[:2]
        ['the proven bound', 'monotone where f is']
    """
    f, kernel = as_function(f), as_kernel(kernel)
    smooth = mollify(f, kernel, n)
    knots, x = around(f, n)
    value, sharp = smooth(x), f(x)
    scale = 1e-14 * (1 + float(sharp.abs().max()))
    worst = float((value - sharp).abs().max())
    laws = [expect("the proven bound", worst <= smooth.max_error + scale, f"{worst} exceeds {smooth.max_error}")]
    if bool((sharp.diff() >= 0).all()):
        lowest = float(value.diff().min())
        laws.append(expect("monotone where f is", lowest >= -scale, f"it falls by {-lowest}"))
    if kernel.compact:
        outside = torch.stack([(x - k).abs() * n > 1 + 1e-9 for k in knots]).all(0)
        laws.append(
            close("equal to f outside the support", value[outside], (sharp + _rest(f, kernel, n, x))[outside], scale)
        )
    inside = x + 1e-3  # moves the points off the knots
    slope = derivative(smooth, inside)
    laws.append(close("slope is the derivative", smooth.slope(inside), slope, 1e-10 * (1 + float(slope.abs().max()))))
    curvature = derivative(smooth.slope, inside)
    size = 1 + float(curvature.abs().max())
    laws.append(close("curvature is its derivative", smooth.curvature(inside), curvature, 1e-8 * size))
    return laws
