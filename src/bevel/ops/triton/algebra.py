"""A family of functions as Triton text: coefficients, value, slope and partial derivatives.

It is the algebra of ``bevel.formulas``, written knot by knot without the coefficients that are the number zero. Each
expression exists twice: *near* a knot with the kernel's forms, and *far* from all knots with the kinked line alone,
which takes an instruction or two per element, so that memory sets the pace.
"""

from __future__ import annotations

from collections.abc import Sequence

from bevel.family import Affine, Family, constant_of, weight_of
from bevel.ops.triton.expressions import Text, times, total
from bevel.terms import GROUPS, is_zero

_FLAT = "(0.0)"


class Algebra:
    """The text of one family.

    Args:
        family: its coefficients, structure and kernel.
        exact: whether the text carries ``rest``, which is what rounding takes from |u|.
    """

    def __init__(self, family: Family, exact: bool) -> None:
        terms = family.terms
        self.family = family
        self.exact = exact
        self.multiplies_cdf = terms.multiplies_cdf
        self.count = len(terms.knots)
        self.names = terms.names()
        self.zero = {name: is_zero(slot) for name, slot in zip(self.names, terms.flat(), strict=True)}
        self.smoothed = family.kernel.reach > 0
        self.indices = range(self.count)

    # ------------------------------------------------------------------------------------------------ coefficients

    def coefficients(self) -> list[str]:
        """Return assignments of every coefficient that is not the number zero, and of n and w where they smooth."""
        lines, used = [], 0
        for name, slot in zip([*self.names, "n"], self.family.slots(), strict=True):
            number = constant_of(slot)
            parts = [f"k{used}"] if number else []
            used += bool(number)
            for index, weight in slot.weights if isinstance(slot, Affine) else ():
                parts.append({1.0: f"p{index}", -1.0: f"(-p{index})"}.get(weight, f"({weight!r} * p{index})"))
            if parts:
                lines.append(f"{name} = {total(parts)}")
            elif not self.zero.get(name, False):
                lines.append(f"{name} = 0.0")  # an expression without parameters
        if not self.smoothed:
            return lines
        if self.family.log_n and isinstance(self.family.n, Affine):
            lines.append("n = exp_of(n)")
        return [*lines, "w = 1 / n"]

    # --------------------------------------------------------------------------------------------------- positions

    def positions(self) -> list[str]:
        """Return assignments of the side of each knot, the distance from it, and |u|."""
        lines = []
        for i in self.indices:
            knot = f"knots_{i}"
            lines.append(f"right_{i} = x > {'0.0' if self.zero[knot] else knot}")
            lines.append(f"distance_{i} = " + ("x" if self.zero[knot] else f"x - {knot}"))
            if self.smoothed:
                lines.append(f"away_{i} = tl.abs(distance_{i}) * n")
        return lines

    def votes(self) -> list[str]:
        """Return the numbers that tell if an element is near: |u| at every knot, or |x| where there is only a line."""
        if not self.smoothed or not self.count:
            return ["tl.abs(x)"]
        return [f"away_{i}" for i in self.indices]

    def forms(self, reach: float, wanted: Sequence[str], argument: str) -> list[str]:
        """Return assignments of the wanted forms of the kernel at every knot."""
        lines = []
        # Beyond the reach the forms are exactly zero. It is finite, because u = ∞ times a density of 0 is NaN.
        most = min(1.5 * reach, 3e38)
        for i in self.indices if self.smoothed else ():
            lines.append(f"v_{i} = tl.where(away_{i} > {most!r}, {most!r}, away_{i})")
            rest = "0.0"
            if self.exact:
                rest = f"rest_{i}"
                lines += self._rest(i, most)
            lines.append(f"{', '.join(f'{form}_{i}' for form in wanted)} = forms(v_{i}, {rest}{argument})")
            lines.append(f"u_{i} = tl.where(right_{i}, v_{i}, -v_{i})")
            if "survival" in wanted:
                lines.append(f"below_{i} = tl.where(right_{i}, -survival_{i}, survival_{i})")
        return lines

    def _rest(self, i: int, most: float) -> list[str]:
        """Return assignments of what rounding took from |x - knot|·n and, by a two-sum, from the difference."""
        lines = [f"rest_{i} = tl.fma(tl.abs(distance_{i}), n, -away_{i})"]
        if not self.zero[f"knots_{i}"]:
            lines += [
                f"back_{i} = x - distance_{i}",
                f"drift_{i} = (x - (distance_{i} + back_{i})) + (back_{i} - knots_{i})",
                f"rest_{i} += n * tl.where(right_{i}, drift_{i}, -drift_{i})",
            ]
        return [*lines, f"rest_{i} = tl.where(away_{i} < {most!r}, rest_{i}, 0.0)"]

    # ------------------------------------------------------------------------------------------------------ values

    def slope_of_line(self) -> str:
        left = "" if self.zero["left"] else "left"
        kinks = [i for i in self.indices if not self.zero[f"jumps_{i}"]]
        if len(kinks) == 1:  # one select instead of a select and an addition
            i = kinks[0]
            both = f"left + jumps_{i}" if left else f"jumps_{i}"
            return f"tl.where(right_{i}, {both}, {left or '0.0'})"
        return f"({total(([left] if left else []) + [f'tl.where(right_{i}, jumps_{i}, 0.0)' for i in kinks])})"

    def intercept(self) -> list[str]:
        """Return the parts of the line's value at x = 0."""
        parts = [] if self.zero["offset"] else ["offset"]
        for i in self.indices:
            rise = [] if self.zero[f"steps_{i}"] else [f"steps_{i}"]
            if not (self.zero[f"jumps_{i}"] or self.zero[f"knots_{i}"]):
                rise.append(f"(-jumps_{i} * knots_{i})")
            if rise:
                parts.append(f"tl.where(right_{i}, {total(rise)}, 0.0)")
        return parts

    def far_value(self) -> Text:
        return Text((), total([f"{self.slope_of_line()} * x", *self.intercept()]))

    def near_value(self) -> Text:
        parts = self.deviations()
        if self.slope_of_line() == _FLAT:
            return Text((), total([*self.intercept(), *(parts or ["tl.where(x == x, 0.0, x)"])]))
        lines = [
            f"tilt = {self.slope_of_line()}",
            "line = tilt * x",
            # at a flat end 0·inf is replaced by 0; a NaN of x or of a parameter stays
            "line = tl.where((line != line) & (x == x) & (tilt == tilt), 0.0, line)",
        ]
        return Text(tuple(lines), total(["line", *self.intercept(), *parts]))

    def deviations(self) -> list[str]:
        """Return the parts that decay away from the knots."""
        parts = []
        for i in self.indices if self.smoothed else ():
            if not self.zero[f"jumps_{i}"]:
                parts.append(f"(jumps_{i} * w) * {self._lag(i)}")
            if not self.zero[f"steps_{i}"]:
                parts.append(f"steps_{i} * below_{i}")
            if self.extra(i):
                alone = self.zero[f"c1_{i}"]  # then the product of w and the weight is one number for all elements
                parts.append(f"(c0_{i} * w) * moment_{i}" if alone else f"{self.weight(i)} * (w * moment_{i})")
        return parts

    def _lag(self, i: int) -> str:
        """Return how far a unit kink is above the line, in widths."""
        return f"(-v_{i} * survival_{i})" if self.multiplies_cdf else f"excess_{i}"

    def extra(self, i: int) -> bool:
        return not (self.zero[f"c0_{i}"] and self.zero[f"c1_{i}"])

    def position(self, i: int) -> str:
        """Return x rebuilt from the clamped u, because ±inf times a moment of 0 is NaN."""
        return f"(w * u_{i})" if self.zero[f"knots_{i}"] else f"(knots_{i} + w * u_{i})"

    def weight(self, i: int) -> str:
        parts = [] if self.zero[f"c0_{i}"] else [f"c0_{i}"]
        if not self.zero[f"c1_{i}"]:
            parts.append(f"c1_{i} * {self.position(i)}")
        return f"({total(parts)})"

    # ------------------------------------------------------------------------------------------------------ slopes

    def far_slope(self) -> str:
        return self.slope_of_line()

    def near_slope(self) -> str:
        parts = [self.slope_of_line()]
        for i in self.indices if self.smoothed else ():
            parts += self.slopes(i)
        return f"tl.where(x == x, {total(parts)}, x)"

    def slopes(self, i: int) -> list[str]:
        parts = []
        if not self.zero[f"jumps_{i}"]:
            parts.append(
                f"jumps_{i} * (below_{i} + u_{i} * density_{i})" if self.multiplies_cdf else f"jumps_{i} * below_{i}"
            )
        if not self.zero[f"steps_{i}"]:
            parts.append(f"steps_{i} * (n * density_{i})")
        if self.extra(i):
            if not self.zero[f"c1_{i}"]:
                parts.append(f"c1_{i} * (w * moment_{i})")
            parts.append(f"(-{self.weight(i)} * (u_{i} * density_{i}))")
        return parts

    # ---------------------------------------------------------------------------------------------------- partials

    def partial(self, index: int, near: bool) -> str | None:
        """Return the elementwise derivative by one parameter; None where it is zero."""
        near = near and self.smoothed
        parts = self._by_line(index)
        for name, slot in zip(self.names, self.family.terms.flat(), strict=True):
            weight = weight_of(slot, index)
            part = self._by_coefficient(name, near) if weight else None
            if part:
                parts.append(times(weight, part))
        weight = weight_of(self.family.n, index)
        if weight and near:
            factor = "(-w)" if self.family.log_n else "(-w * w)"
            parts.append(times(weight, f"({factor} * ({total(self.by_width())}))"))
        return total(parts) if parts else None

    def _by_line(self, index: int) -> list[str]:
        """Return the parts of the derivative of the line ``left·x + Σ jump·[x > knot]·(x − knot)``.

        The weights of x are added before they multiply x: x − x is NaN at x = ∞, and far from the knot it swallows what
        decays.
        """
        terms = self.family.terms
        left = weight_of(terms.left, index)
        jumps = {i: weight for i, jump in enumerate(terms.jumps) if (weight := weight_of(jump, index))}
        if not jumps:
            return [times(left, "x")] if left else []
        kinks = [(i, weight) for i, weight in jumps.items() if not self.zero[f"knots_{i}"]]
        shifts = [f"tl.where(right_{i}, {times(-weight, f'knots_{i}')}, 0.0)" for i, weight in kinks]
        if len(jumps) > 1:
            # tl.full, because tl.where takes a bare number for a float32
            rises = [f"tl.where(right_{i}, tl.full([], {weight!r}, x.dtype), 0.0)" for i, weight in jumps.items()]
            slope = total([*([repr(left)] if left else []), *rises])
            return [f"tl.where(({slope}) != 0, ({slope}) * x, 0.0)", *shifts]
        [(i, jump)] = jumps.items()
        if not left:  # near the knot the difference has more digits than its two halves
            return [times(jump, f"tl.where(right_{i}, distance_{i}, 0.0)")]
        right = times(left + jump, "x") if left + jump else "0.0"
        return [f"tl.where(right_{i}, {right}, {times(left, 'x')})", *shifts]

    def _by_coefficient(self, name: str, near: bool) -> str | None:
        """Return the derivative by one coefficient, without what :meth:`_by_line` returns."""
        if name in ("left", "offset"):
            return None if name == "left" else "1.0"
        group, _, number = name.rpartition("_")
        i = int(number)
        assert group in GROUPS
        parts = []
        if group == "steps":
            parts.append(f"tl.where(right_{i}, 1.0, 0.0)")
        if group == "knots" and not self.zero[f"jumps_{i}"]:
            parts.append(f"tl.where(right_{i}, -jumps_{i}, 0.0)")
        found = self.decay(group, i) if near else None
        parts += [found] if found else []
        return f"({total(parts)})" if parts else None

    def decay(self, group: str, i: int) -> str | None:
        """Return the derivative of what decays away from a knot."""
        if group == "jumps":
            return f"(w * {self._lag(i)})"
        if group == "steps":
            return f"below_{i}"
        if group != "knots":
            return f"(w * moment_{i})" if group == "c0" else f"({self.position(i)} * (w * moment_{i}))"
        parts = [f"(-({part}))" for part in self.slopes(i)]
        if not self.zero[f"c1_{i}"]:
            parts.append(f"c1_{i} * (w * moment_{i})")
        return f"({total(parts)})" if parts else None

    def by_width(self) -> list[str]:
        parts = []
        for i in self.indices:
            square = f"(u_{i} * (u_{i} * density_{i}))"
            if not self.zero[f"jumps_{i}"]:
                parts.append(f"jumps_{i} * " + (f"(-{square})" if self.multiplies_cdf else f"moment_{i}"))
            if not self.zero[f"steps_{i}"]:
                parts.append(f"(-steps_{i} * (n * (u_{i} * density_{i})))")
            if self.extra(i):
                parts.append(f"{self.weight(i)} * (moment_{i} + {square})")
        return parts
