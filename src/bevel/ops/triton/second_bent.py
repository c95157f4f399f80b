"""The second pass of functions with bends.

The parts of F that are piecewise parabolas stay such under every derivative: each is the text of
:meth:`BentAlgebra.quadratic` with coefficients of its own, in which ``a`` and the cotangents are elements, too.
"""

from __future__ import annotations

from bevel.family import weight_of
from bevel.ops.triton.bent import BentAlgebra, Quadratic
from bevel.ops.triton.expressions import total
from bevel.ops.triton.second import Second


def _sum(*parts: str) -> str:
    return " + ".join(filter(None, parts))


class BentSecond(Second):
    """The expressions of F and its derivatives for one family with bends."""

    algebra: BentAlgebra

    def lines(self, near: bool) -> list[str]:
        return super().lines(near)[1:]  # without the slope of a moving line

    def _moving_parabola(self) -> Quadratic:
        """Return how the unsmoothed function moves with its coefficients."""
        given = {name: f"beta_{name}" for name in self.slots if self._moves(name)}
        for i in self.algebra.indices:
            moved = given.pop(f"knots_{i}", "")
            for of, source in (("jumps", "bends"), ("steps", "jumps")) if moved else ():
                if self._has(source, i):
                    given[f"{of}_{i}"] = _sum(given.get(f"{of}_{i}", ""), f"(-{moved} * {source}_{i})")
        return self.algebra.quadratic(given)

    def _by(self, index: int) -> Quadratic:
        """Return the derivative by a parameter of what the unsmoothed function gives to F: lines between the knots."""
        w = {name: repr(weight) for name, slot in self.slots.items() if (weight := weight_of(slot, index))}
        given = {}
        for name, of in (("left_bend", "left"), ("left", "offset")):
            if name in w:
                given[of] = f"{w[name]} * a"
        for i in self.algebra.indices:
            bend, jump, knot = (w.get(f"{group}_{i}", "") for group in ("bends", "jumps", "knots"))
            steeper = [f"{bend} * eta_{i}"] if bend else []
            higher = [f"{jump} * eta_{i}"] if jump else []
            if knot and self._moves(f"bends_{i}"):
                steeper.append(f"(-({knot}) * beta_bends_{i})")
            if knot and self._has("bends", i):
                higher.append(f"(-({knot}) * eta_{i} * bends_{i})")
            if knot and self._moves(f"jumps_{i}"):
                higher.append(f"(-({knot}) * beta_jumps_{i})")
            given |= {f"jumps_{i}": _sum(*steeper), f"steps_{i}": _sum(*higher)}
        return self.algebra.quadratic(given)

    def _lasting(self, name: str = "") -> str:
        """Return ``variance·w²``, of which half lasts beyond the kernel's reach; by a bend right of its knot."""
        spread = f"({self.algebra.variance!r} * w * w)"
        return self.algebra.right(int(name.rpartition("_")[2]), spread) if name.startswith("bends_") else spread

    def _parts(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        lines = super()._parts(i, parts)
        return [*lines, *self._bend(i, parts)] if self.algebra.bends(i) else lines

    def _bend(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        moved = total([f"w * (eta_{i} * excess_{i})", *self._stretch(f"(-w * both_{i})")])
        lines = [
            f"moved_bend_{i} = {moved}",
            f"slope_bend_{i} = bends_{i} * ({total([f'eta_{i} * below_{i}', *self._stretch(f'(-moment_{i})')])})",
        ]
        lasting = self._stretch(f"(w * ({2.0 if self.family.log_n else 3.0} * both_{i} - u_{i} * moment_{i}))")
        parts["value"].append(f"bends_{i} * moved_bend_{i}")
        parts["n"].append(f"bends_{i} * ({total([f'(-w * (eta_{i} * moment_{i}))', *lasting])})")
        if self._moves(f"bends_{i}"):
            beta = f"beta_bends_{i}"
            parts["value"].append(f"{beta} * (w * (w * lift_{i}))")
            parts["n"].append(f"(-{beta} * (w * (w * both_{i})))")
            lines.append(f"slope_bend_{i} += {beta} * (w * excess_{i})")
        self._moving(i, "bend", parts)
        return lines

    def value(self, near: bool) -> str:
        moving = self._moving_parabola()
        parts = [f"a * ({self.algebra.derivative(Quadratic('bend', 'tilt', ''), near)})"]
        parts += [] if moving.zero else [self.algebra.at(moving, near)]
        if self.algebra.variance and moving.bend:
            parts.append(f"0.5 * {self._lasting()} * ({moving.bend})")
        if self.algebra.variance and self.stretched:
            parts.append(f"(-nu * {self._lasting()} * bend)")
        return total([*parts, *(f"by_value_{i}" for i in self.algebra.indices if near)])

    def slope(self, near: bool) -> str:
        moving = self._moving_parabola()
        parts = ["a * bend"] + ([] if moving.zero else [self.algebra.derivative(moving, near)])
        return total([*parts, *(f"by_slope_{i}" for i in self.algebra.indices if near)])

    def partial(self, index: int, near: bool) -> str | None:
        q = self._by(index)
        parts = [] if q.zero else [self.algebra.at(q, near)]
        for name, slot in self.slots.items():
            weight, (group, _, i) = weight_of(slot, index), name.rpartition("_")
            if weight and near and group in self.groups:
                parts.append(f"{weight!r} * by_{group}_{i}")
            if weight and (name == "left_bend" or group == "bends") and self.algebra.variance and self.stretched:
                parts.append(f"{weight!r} * (-nu * {self._lasting(name)})")
        weight = weight_of(self.family.n, index)
        by_n = [f"by_n_{i}" for i in self.algebra.indices if near] + self._lasting_by_n()
        if weight and by_n:
            parts.append(f"{weight!r} * ({total(by_n)})" + ("" if self.family.log_n else " * w"))
        return total(parts) if parts else None

    def _lasting_by_n(self) -> list[str]:
        """Return the derivative by log n of the lasting part of F."""
        if not self.algebra.variance:
            return []
        moving = self._moving_parabola()
        parts = [f"(-{self._lasting()} * ({moving.bend}))"] if moving.bend else []
        times = 2.0 if self.family.log_n else 3.0
        return parts + ([f"{times} * nu * {self._lasting()} * bend"] if self.stretched else [])
