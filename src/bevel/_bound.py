"""How far a smoothed function is from the kinked function it smooths: the one bound that bevel states."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.terms import Coefficient, Terms, as_numbers, is_zero

_PRECISION = 1e-6  # how far above a largest value its bound may lie, relatively


def error_bound(terms: Terms[Coefficient], kernel: Kernel, n: Coefficient) -> float | None:
    r"""Bound the distance between a smoothed function and its kinked function, over all x and all channels.

    With ``w = 1/n``, ``cᵢ = c0ᵢ + c1ᵢ·knotᵢ``, ``S = max v·survival(v)`` and ``P = sup v·moment(v)``, one channel's
    bound is::

        Σᵢ w·K(jumpᵢ, cᵢ) + ½·Σᵢ |stepᵢ| + w²·P·Σᵢ |c1ᵢ| + ½·variance·w²·B

        ramps:  K(j, c) = gap·(|j| + |c|)      if j and c have one sign, else gap·max(|j|, |c|)
        terms.multiplies_cdf:
                K(j, c) = max(S·|j|, gap·|c|)  if j and c have one sign, else S·|j| + gap·|c|
        bends:  B = max over m of |left_bend + Σ bendᵢ|, the sum over the m leftmost knots, m = 0, 1, …: the largest
                second derivative of f, which is less than Σ|bendᵢ| where bends cancel (Hardswish)

    **Proof.** By the formula of :mod:`bevel.formulas`, smoothed minus kinked at x is the sum over knots i of

        ``jumpᵢ·w·excess(vᵢ)`` (or ``−jumpᵢ·w·vᵢ·survival(vᵢ)``) ``± stepᵢ·survival(vᵢ) + (c0ᵢ + c1ᵢ·x)·w·moment(vᵢ)``

    with ``x = knotᵢ ± w·vᵢ``, so that the last term is ``cᵢ·w·moment(vᵢ) ± c1ᵢ·w²·vᵢ·moment(vᵢ)``. On v ≥ 0,
    ``excess`` falls from ``gap`` to 0 (its derivative is ``−survival``), ``moment`` falls from ``gap`` to 0 (its
    derivative is ``−v·density``), and ``survival`` falls from ½ to 0. So ``j·w·excess + c·w·moment`` lies between
    ``w·gap·(min(j, 0) + min(c, 0))`` and ``w·gap·(max(j, 0) + max(c, 0))``, which is K for a ramp; with
    ``−v·survival``, which lies in ``[−S, 0]``, in the place of ``excess`` it is the other K. The step adds at most
    ``½·|step|`` and the last part at most ``w²·P·|c1|``. Bends add ``½·variance·w²·(left_bend + Σ bendᵢ·θᵢ)``, where θ
    is 2·second/variance left of a knot and 1 less that right of it: a function that rises from 0 to 1, so that
    ``1 ≥ θ₁ ≥ θ₂ ≥ … ≥ 0`` from the leftmost knot on. Over such θ a sum is largest where the first m are 1 and the
    others 0. ∎

    **Where it is attained.** For one knot without ``c1``: a ramp alone, or with a ``c0`` of its jump's sign, at the
    knot; a step alone, right of the knot and ever nearer to it; a bend alone, far right of it; a jump that multiplies
    the cdf, alone, where ``v·survival(v)`` is largest. S and P are bounds themselves, at most one part in a million
    above the truth.

    Args:
        terms: the coefficients, numbers or 1-D tensors (length one, or one value per channel).
        kernel: the approximate identity.
        n: the sharpness, a number or such a tensor.

    Returns:
        The largest channel's bound, infinite where a coefficient is NaN; None where none is known: a ``c1`` with a
        kernel whose forms never vanish (``student``), since ``v·moment(v)`` need not be bounded then.

    Example:
        >>> import bevel
        >>> from bevel.terms import Terms
        >>> relu = bevel.kinked.relu().terms
        >>> round(error_bound(relu, bevel.KERNELS["box"], 10.0), 6)  # gap/n = 0.25/10
        0.025
    """
    if not all(map(is_zero, terms.c1)) and kernel.reach == math.inf:
        return None
    w = 1 / as_numbers(n)
    steps, lines, squares = _parts(terms, kernel)
    worst = float((steps + w * lines + w * w * squares).max())
    return math.inf if math.isnan(worst) else worst


def least_sharpness(terms: Terms[Coefficient], kernel: Kernel, tolerance: float) -> float:
    """Return the smallest n, over all channels, at which the bound of a function without steps is ``tolerance``.

    With ``w = 1/n`` the bound is ``L·w + Q·w²``, so ``n = (L + √(L² + 4·Q·tolerance)) / (2·tolerance)``.
    """
    _, lines, squares = _parts(terms, kernel)
    root = torch.sqrt(lines * lines + 4 * squares * tolerance)
    return float((lines + root).max()) / (2 * tolerance)


def _parts(terms: Terms[Coefficient], kernel: Kernel) -> tuple[Tensor, Tensor, Tensor]:
    """Return, by channel, what of the bound does not depend on w, and the factors of w and of w²."""
    zero = torch.zeros(1, dtype=torch.float64, device="cpu")
    steps = lines = squares = zero
    for knot, jump, step, c0, c1 in zip(terms.knots, terms.jumps, terms.steps, terms.c0, terms.c1, strict=True):
        if not is_zero(step):
            steps = steps + as_numbers(step).abs() * kernel.cdf(zero)
        if all(map(is_zero, (jump, c0, c1))):
            continue
        tail = as_numbers(c0) + as_numbers(c1) * as_numbers(knot)
        lines = lines + _ramp(as_numbers(jump), tail, kernel, terms.multiplies_cdf)
        if not is_zero(c1):
            squares = squares + as_numbers(c1).abs() * largest_moment(kernel)
    if terms.curve and kernel.variance:
        squares = squares + 0.5 * kernel.variance * _largest_bend(terms)
    return steps, lines, squares


def _largest_bend(terms: Terms[Coefficient]) -> Tensor:
    """B of :func:`error_bound`, by channel; learnt knots may have crossed, so they are sorted first."""
    given = [as_numbers(c) for c in (*terms.curve, *terms.knots)]
    channels = max(c.numel() for c in given)
    left, *rest = [c.expand(channels) for c in given]
    if not rest:
        return left.abs()
    count = len(terms.knots)
    order = torch.stack(rest[count:]).argsort(dim=0, stable=True)
    after = left + torch.stack(rest[:count]).gather(0, order).cumsum(0)
    return torch.maximum(left.abs(), after.abs().amax(0))


def _ramp(jump: Tensor, tail: Tensor, kernel: Kernel, multiplies_cdf: bool) -> Tensor:
    """K of :func:`error_bound`: the larger of what pulls up and what pulls down."""
    lag = -jump * largest_lag(kernel) if multiplies_cdf else jump * kernel.gap
    rest = tail * kernel.gap
    up, down = lag.clamp(min=0) + rest.clamp(min=0), lag.clamp(max=0) + rest.clamp(max=0)
    return torch.maximum(up, -down)


@functools.lru_cache(maxsize=256)
def largest_lag(kernel: Kernel) -> float:
    """S: a bound on ``v·survival(v)``. For a kernel of infinite reach v = 1000 ends the search: the rest is smaller.

    Beyond V, ``v·survival(v) ≤ moment(v) ≤ moment(V)``, which the bound takes into account.
    """
    end = min(kernel.reach, 1000.0)
    beyond = 0.0 if kernel.reach <= end else float(kernel.moment(torch.tensor(end, dtype=torch.float64, device="cpu")))
    return max(_largest_product(kernel.survival, end), beyond)


@functools.lru_cache(maxsize=256)
def largest_moment(kernel: Kernel) -> float:
    """P: a bound on ``v·moment(v)`` for a kernel of finite reach."""
    return _largest_product(kernel.moment, kernel.reach)


def _largest_product(falling: Callable[[Tensor], Tensor], end: float) -> float:
    """A bound on ``v·falling(v)`` over [0, end], for a function that falls to 0 from a positive value.

    Over a cell [a, b], ``v·falling(v) ≤ b·falling(a)``. Cells whose bound is below a value that is reached elsewhere
    are left out and the others divided, until the bound is within ``_PRECISION`` of what is reached.
    """
    if end == 0:
        return 0.0
    width = end / 4096
    parts = torch.arange(32, dtype=torch.float64, device="cpu")
    left = torch.arange(4096, dtype=torch.float64, device="cpu") * width
    while True:
        above = (left + width) * falling(left)
        reached = float((left * falling(left)).max())
        bound = float(above.max())
        if bound <= reached * (1 + _PRECISION) or len(left) > 1 << 20:
            return bound
        width /= 32
        left = (left[above >= reached, None] + width * parts).flatten()
