"""The composed formulas of a smoothed function.

With width ``w = 1/n``, ``uᵢ = (x − knotᵢ)·n`` and ``vᵢ = |uᵢ|`` every function of bevel's own family is its kinked
line plus deviations that decay away from the knots::

    value = line(x) + Σ jumpᵢ·w·excess(vᵢ)            smoothed kinks   (gate: − Σ jumpᵢ·w·vᵢ·survival(vᵢ))
                    ± Σ stepᵢ·survival(vᵢ)            smoothed steps
                    + Σ (c0ᵢ + c1ᵢ·x)·w·moment(vᵢ)    SAU's published and centred forms
                    ± Σ bendᵢ·w²·second(vᵢ)           smoothed bends (+ left of the knot, − right of it)
                    + ½·variance·w²·line″(x)          what remains of them right of their knots

``line`` is evaluated segment by segment, so that a flat end stays flat for any |x|; a sum of ramps would cancel there.
``multiplies_cdf`` turns ``jump·ramp`` into ``jump·x·cdf``: GELU, SiLU, SMU, SAU's centred form.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bevel._segments import Segments
from bevel.kernel import Kernel
from bevel.portable import lazy
from bevel.terms import GROUPS, Coefficient, Terms, along, is_zero


class Formulas:
    """The composed formulas at ``x``, made of differentiable torch operations: every backend is compared with them.

    Args:
        x: float32 or float64, any shape.
        terms: the coefficients; tensors of one value, or one per channel along ``dim``.
        kernel: the approximate identity.
        n: the sharpness.
        dim: the channel axis.
    """

    def __init__(self, x: Tensor, terms: Terms[Coefficient], kernel: Kernel, n: Coefficient, dim: int = 1) -> None:
        self.x = x
        self.dim = dim
        self.kernel = kernel
        self.terms = terms.with_flat([along(c, x, dim) for c in terms.flat()])
        self.n = along(n, x, dim)
        self.w = 1 / self.n
        self.knots = [_Knot(self, i) for i in range(len(terms.knots))]

    @lazy
    def segments(self) -> Segments:
        return Segments(self.x, self.terms.knots, [k.mask for k in self.knots])

    @lazy
    def bend(self) -> Coefficient:
        """The second derivative of the unsmoothed function at x; at a knot, that on its left."""
        return self.segments.total(self.terms.curve[0], self.terms.curve[1:])

    @lazy
    def slope_at_anchor(self) -> Coefficient:
        return self.segments.slope(self.line_slope, self.terms.curve)

    @lazy
    def line_slope(self) -> Tensor | float:
        """The slope of the kinked line at x; at a knot, the slope on its left."""
        total: Tensor | float = self.terms.left
        for k in self.knots:
            total = total + k.where_right(k.jump)
        return total

    def value(self) -> Tensor:
        """Return the function's values."""
        total = self._quadratic() if self.terms.curve else self._line_value()
        for k in self.knots:
            for part in k.deviations():
                total = total + part
        return total

    def _quadratic(self) -> Tensor:
        """The unsmoothed quadratic, and what smoothing adds to it for as long as it is one."""
        t = self.terms
        level = self.segments.level(t.left, t.offset, t.jumps, t.steps, t.curve)
        value = self.segments.value(self.bend, self.slope_at_anchor, level)
        return value + 0.5 * self.variance * self.bend * self.w * self.w if self.variance else value

    @property
    def variance(self) -> float:
        return self.kernel.variance or 0.0

    def _line_value(self) -> Tensor:
        intercept: Coefficient = self.terms.offset
        for k in self.knots:
            intercept = intercept + k.right * (k.step - k.jump * k.knot)
        slope = self.line_slope
        x = self.x
        if isinstance(slope, Tensor) or slope == 0:  # at ±inf a flat end has its level, and 0·inf would be NaN
            infinite = torch.isinf(x)
            x = torch.where(infinite & (slope == 0) if isinstance(slope, Tensor) else infinite, 0.0, x)
        return slope * x + intercept

    def slope(self) -> Tensor:
        """Return the derivative in x."""
        if self.terms.curve:
            total = self.segments.derivative(self.bend, self.slope_at_anchor)
        else:
            total = self.line_slope + torch.zeros_like(self.x)
        for k in self.knots:
            for part in k.slopes():
                total = total + part
        return torch.where(torch.isnan(self.x), self.x, total)

    def curvature(self) -> Tensor:
        """Return the second derivative in x of a convolution (no ``multiplies_cdf``, c0 or c1)."""
        total = torch.zeros_like(self.x)
        for k in self.knots:
            if not is_zero(k.jump):
                total = total + k.jump * self.n * k.pdf
            if not is_zero(k.step):
                total = total + k.step * self.n * self.n * self.kernel.pdf_slope(k.u)
            if not is_zero(k.bend):
                total = total + k.bend * k.below
        return total + self.bend if self.terms.curve else total

    def partial(self, slot: int) -> Tensor:
        """Return the derivative by the coefficient at one place of :meth:`Terms.flat`, with the line's slope fixed.

        The caller adds the derivatives of the slope, x for ``left`` and ``[x > knot]·x`` for a jump, since it knows
        which of them belong together: x − x is NaN at x = ∞, and far from the knot it swallows what decays.
        """
        if slot < 2:
            return torch.zeros_like(self.x) if slot == 0 else torch.ones_like(self.x)
        group, i = divmod(slot - 2, len(self.knots))
        return self.knots[i].level(GROUPS[group]) + self.knots[i].decay(GROUPS[group])

    def deviation(self, slot: int) -> Tensor | float:
        """Return the derivative by one coefficient of what smoothing adds."""
        first = 2 + len(GROUPS) * len(self.knots)
        if slot < 2:
            return 0.0
        if slot < first:
            group, i = divmod(slot - 2, len(self.knots))
            return self.knots[i].decay(GROUPS[group])
        half = 0.5 * self.variance * self.w * self.w
        return half + torch.zeros_like(self.x) if slot == first else self.knots[slot - first - 1].bend_decay(half)

    def partial_n(self) -> Tensor:
        """Return the elementwise derivative by n, ``−w²·∂/∂w``."""
        total = torch.zeros_like(self.x)
        for k in self.knots:
            total = total + k.partial_w()
        if self.terms.curve and self.variance:
            total = total + self.variance * self.bend * self.w
        return -self.w * self.w * total


class _Knot:
    """What one knot contributes. Each form of the kernel is computed once, when it is first needed."""

    def __init__(self, at: Formulas, i: int) -> None:
        t, x = at.terms, at.x
        self.at = at
        self.knot, self.jump, self.step, self.c0, self.c1 = t.knots[i], t.jumps[i], t.steps[i], t.c0[i], t.c1[i]
        self.bend: Coefficient = t.curve[1 + i] if t.curve else 0.0
        closed = bool(t.sides) and t.sides[i] == "right"
        mask = x >= self.knot if closed else x > self.knot  # the knot belongs to the left branch, as in torch's ReLU
        self.mask = mask
        self.right = mask.to(x.dtype)
        self.distance = x - self.knot
        most = torch.finfo(x.dtype).max
        u = self.distance.clamp(-most, most) * at.n  # clamped: the clamp below has derivative 0, and 0·∞ is NaN
        # The sign comes from the mask and not from |u|, so that autograd sees one branch at u = 0 too.
        reach = min(at.kernel.reach, most)
        self.v = torch.where(mask, u, -u).clamp(max=reach)
        self.u = torch.where(mask, self.v, -self.v)
        self._near = self.v < reach

    @lazy
    def pdf(self) -> Tensor:
        return self.at.kernel.density(self.v)

    @lazy
    def survival(self) -> Tensor:
        return self.at.kernel.survival(self.v)

    @lazy
    def excess(self) -> Tensor:
        return self.at.kernel.excess(self.v)

    @lazy
    def moment(self) -> Tensor:
        return self.at.kernel.moment(self.v)

    @lazy
    def second(self) -> Tensor:
        return self.at.kernel.second(self.v)

    @lazy
    def below(self) -> Tensor:
        """``cdf(u) − [x > knot]``: the survival, negative right of the knot."""
        return torch.where(self.mask, -self.survival, self.survival)

    def where_right(self, value: Coefficient) -> Tensor:
        """Return ``value`` right of the knot, else 0; the derivative is 0 there even where the formula has 0·∞."""
        return torch.where(self.mask, value, 0.0) if isinstance(value, Tensor) else self.right * value

    def _within_reach(self, value: Tensor) -> Tensor:
        """Return ``value``, and 0 where the kernel's forms are 0, since ±inf times 0 is NaN."""
        return torch.where(self._near, value, torch.zeros_like(value))

    @lazy
    def lag(self) -> Tensor:
        """``|x − knot|·survival``: how far ``x·cdf`` stays behind the ramp."""
        return self._within_reach(torch.where(self.mask, self.distance, -self.distance)) * self.survival

    @lazy
    def weight(self) -> Coefficient:
        """``c0 + c1·x``, which multiplies the moment."""
        return self.c0 if is_zero(self.c1) else self.c0 + self.c1 * self._within_reach(self.at.x)

    @property
    def extra(self) -> bool:
        return not (is_zero(self.c0) and is_zero(self.c1))

    def deviations(self) -> Iterator[Tensor]:
        w = self.at.w
        if not is_zero(self.jump):
            yield -self.jump * self.lag if self.at.terms.multiplies_cdf else self.jump * w * self.excess
        if not is_zero(self.step):
            yield self.step * self.below
        if self.extra:
            yield self.weight * (w * self.moment)
        if not is_zero(self.bend):
            yield self.bend * self._left_less_right(w * (w * self.second))

    def slopes(self) -> Iterator[Tensor]:
        at = self.at
        if not is_zero(self.jump):
            yield self.jump * (self.below + self.u * self.pdf if at.terms.multiplies_cdf else self.below)
        if not is_zero(self.step):
            yield self.step * at.n * self.pdf
        if self.extra:
            yield self.c1 * (at.w * self.moment) - self.weight * (self.u * self.pdf)
        if not is_zero(self.bend):
            yield self.bend * (at.w * self.excess)

    def _left_less_right(self, value: Tensor) -> Tensor:
        """Return ``value`` left of the knot, and its negative right of it."""
        return torch.where(self.mask, -value, value)

    def level(self, group: str) -> Tensor | float:
        """Return the derivative of the line's intercept by the knot's coefficient of one group."""
        if group == "knots":
            return -self.right * self.jump
        if group == "jumps":
            return -self.right * self.knot
        return self.right if group == "steps" else 0.0

    def decay(self, group: str) -> Tensor:
        """Return the derivative of what decays away from the knot."""
        w = self.at.w
        if group == "knots":
            total = -sum(self.slopes(), start=torch.zeros_like(self.v))
            return total if is_zero(self.c1) else total + self.c1 * (w * self.moment)
        if group == "jumps":
            return -self.lag if self.at.terms.multiplies_cdf else w * self.excess
        if group == "steps":
            return self.below
        moment = w * self.moment
        return moment if group == "c0" else self._within_reach(self.at.x) * moment

    def bend_decay(self, half: Coefficient) -> Tensor:
        """Return the derivative by the bend; ``half``, ``½·variance·w²``, is what it nears on the right."""
        return self.where_right(half) + self._left_less_right(self.at.w * (self.at.w * self.second))

    def partial_w(self) -> Tensor:
        total = torch.zeros_like(self.v)
        if not is_zero(self.jump):
            total = total + self.jump * (-self.u * (self.u * self.pdf) if self.at.terms.multiplies_cdf else self.moment)
        if not is_zero(self.step):
            total = total - self.step * self.at.n * (self.u * self.pdf)
        if self.extra:
            total = total + self.weight * (self.moment + self.u * (self.u * self.pdf))
        if not is_zero(self.bend):
            total = total + self.bend * self._left_less_right(self.at.w * (2 * self.second + self.v * self.excess))
        return total
