"""A piecewise quadratic, evaluated segment by segment.

Between two knots ``f(x) = level + slope·d + ½·bend·d²``, with ``d = x − anchor`` and the last knot left of x for the
anchor (0 left of all knots). The bends are summed before anything multiplies them, so that Hardswish at 1e30 is 1e30
and not inf − inf, and near a knot nothing cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.terms import Coefficient, is_zero


class Segments:
    """The segments at ``x`` of functions that have knots in common.

    Args:
        x: where they are evaluated.
        knots: numbers, or tensors that broadcast against x; they may be in any order, since learnt ones may cross.
        right: for each knot whether x is right of it.
    """

    def __init__(self, x: Tensor, knots: Sequence[Coefficient], right: Sequence[Tensor]) -> None:
        self.x = x
        self.right = right
        self.anchor: Coefficient = 0.0
        if not all(map(is_zero, knots)):
            anchor = torch.full_like(x, -torch.inf)
            for knot, mask in zip(knots, right, strict=True):  # f does not depend on its anchor: no gradient
                at = knot.detach() if isinstance(knot, Tensor) else knot
                anchor = torch.where(mask, anchor.clamp(min=at), anchor)
            self.anchor = torch.where(torch.isinf(anchor), 0.0, anchor)
        self.distance = x - self.anchor
        self.beyond = [0.0 if is_zero(self.anchor) else self.anchor - knot for knot in knots]
        self._infinite = torch.isinf(x)

    def total(self, left: Coefficient, changes: Sequence[Coefficient]) -> Coefficient:
        """Return what holds at x of a number that is ``left`` left of all knots and changes at each."""
        for change, mask in zip(changes, self.right, strict=True):
            if not is_zero(change):
                left = left + self._right(mask, change)
        return left

    def slope(self, flat: Coefficient, curve: Sequence[Coefficient]) -> Coefficient:
        """Return the slope at the anchor; ``flat`` is the part of it that comes of ``left`` and the jumps."""
        left, *bends = curve
        total = flat if is_zero(left) else flat + _times(left, self.anchor)
        for bend, away, mask in zip(bends, self.beyond, self.right, strict=True):
            if not is_zero(bend) and not is_zero(away):
                # At ±inf the slope's gradient is infinite, and the bend's would be 0·∞ where the knot is the anchor.
                counts = mask & ~(self._infinite & (away == 0))
                total = total + self._right(counts, _times(bend, away))
        return total

    def level(
        self,
        left: Coefficient,
        offset: Coefficient,
        jumps: Sequence[Coefficient],
        steps: Sequence[Coefficient],
        curve: Sequence[Coefficient],
    ) -> Coefficient:
        """Return the value at the anchor."""
        left_bend, *bends = curve
        total = offset + _times(left + _times(0.5 * left_bend, self.anchor), self.anchor)
        for jump, step, bend, away, mask in zip(jumps, steps, bends, self.beyond, self.right, strict=True):
            rise = step + _times(jump + _times(0.5 * bend, away), away)
            if not is_zero(rise):
                total = total + self._right(mask, rise)
        return total

    def value(self, bend: Coefficient, slope: Coefficient, level: Coefficient) -> Tensor:
        """Return the function at x. At ±inf what does not grow has its level, and 0·inf would be NaN."""
        inner = 0.5 * bend * self._finite(bend) + slope
        return inner * self._finite(inner) + level

    def derivative(self, bend: Coefficient, slope: Coefficient) -> Tensor:
        """Return its derivative by x."""
        return bend * self._finite(bend) + slope

    def of(
        self,
        left: Coefficient,
        offset: Coefficient,
        jumps: Sequence[Coefficient],
        steps: Sequence[Coefficient],
        curve: Sequence[Coefficient],
    ) -> Tensor:
        """Return the function of these coefficients at x."""
        slope = self.slope(self.total(left, jumps), curve)
        return self.value(self.total(curve[0], curve[1:]), slope, self.level(left, offset, jumps, steps, curve))

    def _right(self, mask: Tensor, value: Coefficient) -> Tensor:
        """Return ``value`` where the mask is, else 0 with derivative 0. Of numbers, torch.where would make float32."""
        return torch.where(mask, value, 0.0) if isinstance(value, Tensor) else mask.to(self.x.dtype) * value

    def _finite(self, factor: Coefficient) -> Tensor:
        """Return the distance, and 0 for an infinite one where ``factor``, which multiplies it, is 0."""
        none = self._infinite & (factor == 0) if isinstance(factor, Tensor) else self._infinite
        return torch.where(none, 0.0, self.distance) if isinstance(factor, Tensor) or factor == 0 else self.distance


def _times(a: Coefficient, b: Coefficient) -> Coefficient:
    """Return the product, the number 0 where either is."""
    return 0.0 if is_zero(a) or is_zero(b) else a * b
