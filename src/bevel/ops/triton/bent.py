"""The text of functions with bends: the algebra of piecewise parabolas, which ``bevel._segments`` has for torch.

Between two knots a function is ``level + tilt·span + ½·bend·span²`` about the last knot left of x, the anchor (0 left
of all). Bends are summed before anything multiplies them, so that Hardswish at 1e30 is 1e30. A derivative by a
parameter is such a function too, of other coefficients at the same knots. What smoothing adds to a parabola,
``½·variance·bend·w²``, does not die out: it belongs to the far side as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.family import Family, weight_of
from bevel.ops.triton.algebra import Algebra
from bevel.ops.triton.expressions import Text, times, total

# What does not grow has its level at ±inf, where 0·inf would be NaN; a NaN of x or of a parameter stays.
HELPERS = '''
@triton.jit
def straight(slope, level, span, x):
    """level + slope·span"""
    rise = slope * span
    return tl.where(rise != rise, slope * tl.where(x == x, 0.0, x), rise) + level


@triton.jit
def parabola(bend, slope, level, span, x):
    """level + (slope + ½·bend·span)·span"""
    return straight(straight(0.5 * bend, slope, span, x), level, span, x)
'''


@dataclass(frozen=True)
class Quadratic:
    """The coefficients that hold at x, as expressions; an empty one is zero."""

    bend: str
    slope: str
    level: str

    @property
    def zero(self) -> bool:
        return not (self.bend or self.slope or self.level)


class BentAlgebra(Algebra):
    """The text of one family with bends."""

    def __init__(self, family: Family, exact: bool) -> None:
        super().__init__(family, exact)
        variance = family.kernel.variance if self.smoothed else None
        self.variance = variance or 0.0
        self.anchored = not all(self.zero[f"knots_{i}"] for i in self.indices)
        flat = self.family.terms.flat()
        names = dict(zip(self.names, flat, strict=True))
        self.slots = names
        self.own = self.quadratic({name: "" if self.zero[name] else name for name in names})

    # --------------------------------------------------------------------------------------------------- segments

    def right(self, i: int, value: str) -> str:
        """Return ``value`` right of a knot; of a bare number tl.where would make a float32."""
        return f"tl.where(right_{i}, {self.tensor(value)}, 0.0)"

    @staticmethod
    def tensor(value: str) -> str:
        try:
            float(value)
        except ValueError:
            return value
        return f"tl.full([], {value}, x.dtype)"

    def _beyond(self, i: int) -> str:
        """Return how far the anchor is right of a knot that is left of it; empty if that is 0."""
        return f"beyond_{i}" if self.anchored and self.count > 1 else ""

    def quadratic(self, given: dict[str, str]) -> Quadratic:
        """Return what holds at x of a function of these coefficients, named as :attr:`names` are."""

        def of(name: str) -> str:
            return given.get(name, "")

        left, bend = of("left"), of("left_bend")
        bends, slopes, levels = ([part] if part else [] for part in (bend, left, of("offset")))
        if self.anchored and (left or bend):
            inner = total([*([left] if left else []), *([f"0.5 * ({bend}) * anchor"] if bend else [])])
            levels.append(f"({inner}) * anchor")
        if self.anchored and bend:
            slopes.append(f"({bend}) * anchor")
        for i in self.indices:
            jump, step, bend, beyond = of(f"jumps_{i}"), of(f"steps_{i}"), of(f"bends_{i}"), self._beyond(i)
            rise = [f"({step})"] if step else []
            if bend:
                bends.append(self.right(i, bend))
            if jump:
                slopes.append(self.right(i, jump))
            if beyond and bend:
                slopes.append(self.right(i, f"({bend}) * {beyond}"))
            if beyond and (jump or bend):
                inner = total([*([jump] if jump else []), *([f"0.5 * ({bend}) * {beyond}"] if bend else [])])
                rise.append(f"({inner}) * {beyond}")
            if rise:
                levels.append(self.right(i, total(rise)))
        return Quadratic(*(" + ".join(parts) for parts in (bends, slopes, levels)))

    def at(self, q: Quadratic, near: bool) -> str:
        """Return the function itself at x."""
        level = q.level or "0.0"
        slope = self.tensor(f"{q.slope}" if q.slope else "0.0")
        if near and q.bend:
            return f"parabola({self.tensor(q.bend)}, {slope}, {self.tensor(level)}, span, x)"
        if near:
            return f"straight({slope}, {self.tensor(level)}, span, x)"
        rise = total([f"(0.5 * ({q.bend})) * span"] * bool(q.bend) + [f"({q.slope})"] * bool(q.slope))
        return f"(({rise}) * span + ({level}))" if q.bend or q.slope else f"({level})"

    def derivative(self, q: Quadratic, near: bool) -> str:
        """Return the derivative of the function by x."""
        return self.at(Quadratic("", q.bend, q.slope), near)

    def positions(self) -> list[str]:
        lines = super().positions()
        if not self.anchored:
            return [*lines, "span = x", *self._at_x()]
        knots = ["0.0" if self.zero[f"knots_{i}"] else f"knots_{i}" for i in self.indices]
        if self.count == 1:
            return [*lines, f"anchor = tl.where(right_0, {knots[0]}, 0.0)", "span = x - anchor", *self._at_x()]
        places = [f"tl.where(right_{i}, {knot}, float('-inf'))" for i, knot in enumerate(knots)]
        lines += [f"anchor = {places[0]}", *(f"anchor = tl.maximum(anchor, {place})" for place in places[1:])]
        lines += ["anchor = tl.where(anchor > float('-inf'), anchor, 0.0)", "span = x - anchor"]
        return [*lines, *(f"beyond_{i} = anchor - {knot}" for i, knot in enumerate(knots)), *self._at_x()]

    def _at_x(self) -> list[str]:
        return [f"bend = {self.tensor(self.own.bend or '0.0')}", f"tilt = {self.tensor(self.own.slope or '0.0')}"]

    # ------------------------------------------------------------------------------------------------------ forms

    def bends(self, i: int) -> bool:
        return self.smoothed and not self.zero[f"bends_{i}"]

    def forms(self, reach: float, wanted: Sequence[str], argument: str) -> list[str]:
        lines = super().forms(reach, wanted, argument)
        if "second" in wanted:  # smoothing lifts left of a knot what it lowers right of it
            lines += [f"lift_{i} = tl.where(right_{i}, -second_{i}, second_{i})" for i in self.indices]
        if "second" in wanted and "excess" in wanted:
            both = "2 * second_{0} + v_{0} * excess_{0}"
            lines += [f"both_{i} = tl.where(right_{i}, -({both}), {both})".format(i) for i in self.indices]
        return lines

    # ----------------------------------------------------------------------------------------------- value, slope

    def _whole(self) -> Quadratic:
        return Quadratic("bend", "tilt", self.own.level)

    def _half(self) -> list[str]:
        """Return what smoothing adds to a parabola of unit bend."""
        return [f"({0.5 * self.variance!r} * w * w)"] if self.variance else []

    def far_value(self) -> Text:
        return Text((), total([self.at(self._whole(), near=False), *(f"{half} * bend" for half in self._half())]))

    def near_value(self) -> Text:
        parts = [self.at(self._whole(), near=True), *(f"{half} * bend" for half in self._half()), *self.deviations()]
        return Text((), total(parts))

    def deviations(self) -> list[str]:
        lifts = [f"bends_{i} * (w * (w * lift_{i}))" for i in self.indices if self.bends(i)]
        return [*super().deviations(), *lifts]

    def far_slope(self) -> str:
        return self.derivative(self._whole(), near=False)

    def near_slope(self) -> str:
        parts = [self.derivative(self._whole(), near=True)]
        for i in self.indices if self.smoothed else ():
            parts += self.slopes(i)
        return f"tl.where(x == x, {total(parts)}, x)"

    def slopes(self, i: int) -> list[str]:
        return [*super().slopes(i), *([f"bends_{i} * (w * excess_{i})"] if self.bends(i) else [])]

    # --------------------------------------------------------------------------------------------------- partials

    def partial(self, index: int, near: bool) -> str | None:
        near, parts = near and self.smoothed, []
        q = self.quadratic(self.weights(index))
        if not q.zero:
            parts.append(self.at(q, near))
        for name, slot in self.slots.items():
            weight = weight_of(slot, index)
            found = self._deviation(name, near) if weight else None
            if found:
                parts.append(times(weight, found))
        weight = weight_of(self.family.n, index)
        widths = [f"({self.variance!r} * bend * w)"] * bool(self.variance) + (self.by_width() if near else [])
        if weight and widths:
            factor = "(-w)" if self.family.log_n else "(-w * w)"
            parts.append(times(weight, f"({factor} * ({total(widths)}))"))
        return total(parts) if parts else None

    def weights(self, index: int) -> dict[str, str]:
        """Return the coefficients of the unsmoothed function's derivative by a parameter."""
        given = {name: repr(w) for name, slot in self.slots.items() if (w := weight_of(slot, index))}
        for i in self.indices:
            moved = given.pop(f"knots_{i}", "")
            for of, source in (("jumps", "bends"), ("steps", "jumps")) if moved else ():
                if not self.zero[f"{source}_{i}"]:
                    parts = [*filter(None, [given.get(f"{of}_{i}")]), f"(-({moved}) * {source}_{i})"]
                    given[f"{of}_{i}"] = total(parts)
        return given

    def _deviation(self, name: str, near: bool) -> str | None:
        """Return the derivative by one coefficient of what smoothing adds."""
        group, _, number = name.rpartition("_")
        if name in ("left", "offset") or not self.smoothed:
            return None
        half = total(self._half())
        if name == "left_bend":
            return half
        if group == "bends":
            rest = self.right(int(number), half)
            return f"({rest} + w * (w * lift_{number}))" if near else rest
        return self.decay(group, int(number)) if near else None

    def by_width(self) -> list[str]:
        return [*super().by_width(), *(f"bends_{i} * (w * both_{i})" for i in self.indices if self.bends(i))]
