"""The second pass as Triton text: what differentiates the results of a backward pass once more.

With ``F = a·∂f/∂x + Σ b·∂f/∂p`` it gives F, g·∂F/∂x and the sums of g·∂F/∂p, in one walk, as the native pass does
(``second_many.h``). The cotangents b of the parameters' gradients are taken to the coefficients first: ``beta_NAME`` is
how a coefficient moves, ``nu`` the relative change of n. A knot's u then moves by n·delta.
"""

from __future__ import annotations

from bevel.family import Affine, Slot, weight_of
from bevel.ops.triton.algebra import Algebra
from bevel.ops.triton.expressions import total
from bevel.terms import GROUPS


class Second:
    """The expressions of F and its derivatives for one family.

    Args:
        algebra: of the family.
        moved: the parameters of which a cotangent is given.
    """

    def __init__(self, algebra: Algebra, moved: list[int]) -> None:
        self.algebra = algebra
        self.family = algebra.family
        self.groups = (*GROUPS, "bends") if self.family.terms.curve else GROUPS
        self.slots = dict(zip(algebra.names, self.family.terms.flat(), strict=True))
        self.moved = moved
        self.stretched = algebra.smoothed and bool(self._weights(self.family.n))

    def _weights(self, slot: Slot) -> list[tuple[int, float]]:
        return [(i, w) for i, w in slot.weights if i in self.moved] if isinstance(slot, Affine) else []

    def _moves(self, name: str) -> bool:
        return bool(self._weights(self.slots[name]))

    def coefficients(self) -> list[str]:
        """Return assignments of how each coefficient moves."""

        def along(slot: Slot) -> str:
            return total([f"({w!r} * b{i})" for i, w in self._weights(slot)])

        lines = [f"beta_{name} = {along(slot)}" for name, slot in self.slots.items() if self._moves(name)]
        if self.stretched:
            lines.append(f"nu = ({along(self.family.n)})" + ("" if self.family.log_n else " * w"))
            lines.append("w_nu = w * nu")
        return lines

    def lines(self, near: bool) -> list[str]:
        """Return assignments of what the expressions share at each knot."""
        lines = [f"tilt = {self._tilt()}"]
        for i in self.algebra.indices:
            moves = self._moves(f"knots_{i}")
            lines.append(f"eta_{i} = a" + (f" - beta_knots_{i}" if moves else ""))
        return [*lines, *(line for i in self.algebra.indices for line in self._knot(i))] if near else lines

    def _has(self, group: str, i: int) -> bool:
        return not self.algebra.zero[f"{group}_{i}"]

    def _knot(self, i: int) -> list[str]:
        """Return assignments of a knot's parts: ``value``, ``slope`` and ``by`` each coefficient and n."""
        parts: dict[str, list[str]] = {key: [] for key in ("value", "slope", *self.groups, "n")}
        lines = self._parts(i, parts)
        return [*lines, *(f"by_{key}_{i} = {total(found)}" for key, found in parts.items())]

    def _parts(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        """Add to a knot's parts, and return the assignments that they need."""
        delta = f"eta_{i}" + (f" + u_{i} * w_nu" if self.stretched else "")
        lines = [f"delta_{i} = {delta}", f"u_phi_{i} = u_{i} * density_{i}"]
        if self._has("jumps", i):
            lines += self._gate(i, parts) if self.algebra.multiplies_cdf else self._kink(i, parts)
        if self._has("steps", i):
            lines += self._step(i, parts)
        if self.algebra.extra(i):
            lines += self._tail(i, parts)
        return lines

    def _stretch(self, part: str, *, times: int = 1) -> list[str]:
        return [f"{float(times)!r} * w_nu * {part}"] if self.stretched else []

    @staticmethod
    def _moving(i: int, kind: str, parts: dict[str, list[str]]) -> None:
        """What a jump or a step gives to the slope, to its knot and to itself."""
        parts["slope"].append(f"slope_{kind}_{i}")
        parts["knots"].append(f"(-slope_{kind}_{i})")
        parts[f"{kind}s"].append(f"moved_{kind}_{i}")

    def _kink(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        moved = self._stretch(f"moment_{i}")
        twice = self._stretch(f"moment_{i}", times=1 if self.family.log_n else 2)
        lines = [f"moved_jump_{i} = " + " - ".join([f"eta_{i} * below_{i}", *moved])]
        lines.append(f"slope_jump_{i} = jumps_{i} * (n * delta_{i} * density_{i})")
        parts["value"].append(f"jumps_{i} * moved_jump_{i}")
        parts["n"].append(f"jumps_{i} * ({total([f'u_phi_{i} * delta_{i}', *twice])})")
        if self._moves(f"jumps_{i}"):
            beta = f"beta_jumps_{i}"
            parts["value"].append(f"({beta} * w) * excess_{i}")
            parts["n"].append(f"(-({beta} * w) * moment_{i})")
            lines.append(f"slope_jump_{i} += {beta} * below_{i}")
        self._moving(i, "jump", parts)
        return lines

    def _gate(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        lines = [
            f"u_turn_{i} = v_{i} * turn_{i}",
            f"square_{i} = u_{i} * u_phi_{i}",
            f"moved_jump_{i} = eta_{i} * below_{i} + u_phi_{i} * delta_{i}",
            f"slope_jump_{i} = jumps_{i} * (n * delta_{i} * (2 * density_{i} + u_turn_{i}))",
        ]
        own = f"(u_{i} * u_{i} * u_turn_{i}" + (f" + square_{i})" if self.family.log_n else ")")
        by_n = total([f"eta_{i} * (2 * u_phi_{i} + u_{i} * u_turn_{i})", *self._stretch(own)])  # 2·square cancels
        parts["value"].append(f"jumps_{i} * moved_jump_{i}")
        parts["n"].append(f"jumps_{i} * ({by_n})")
        if self._moves(f"jumps_{i}"):
            beta = f"beta_jumps_{i}"
            parts["value"].append(f"({beta} * w) * (-v_{i} * survival_{i})")
            parts["n"].append(f"({beta} * w) * square_{i}")
            lines.append(f"slope_jump_{i} += {beta} * (below_{i} + u_phi_{i})")
        self._moving(i, "jump", parts)
        return lines

    def _step(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        signed = f"tl.where(right_{i}, turn_{i}, -turn_{i})"
        inner = f"{signed} * (n * delta_{i})" + (f" + density_{i} * nu" if self.stretched else "")
        lines = [
            f"moved_step_{i} = density_{i} * (n * delta_{i})",
            f"slope_step_{i} = n * (steps_{i} * ({inner}))",
        ]
        by_n = f"n * delta_{i} * (v_{i} * turn_{i} + density_{i})"
        if self.stretched and not self.family.log_n:
            by_n += f" - u_phi_{i} * nu"
        parts["value"].append(f"steps_{i} * moved_step_{i}")
        parts["n"].append(f"steps_{i} * ({by_n})")
        if self._moves(f"steps_{i}"):
            beta = f"beta_steps_{i}"
            parts["value"].append(f"{beta} * below_{i}")
            parts["n"].append(f"{beta} * u_phi_{i}")
            lines.append(f"slope_step_{i} += n * ({beta} * density_{i})")
        self._moving(i, "step", parts)
        return lines

    def _tail(self, i: int, parts: dict[str, list[str]]) -> list[str]:
        """Return the lines that differentiate ``(c0 + c1·x)·w·moment``."""
        algebra, place = self.algebra, self.algebra.position(i)
        turned = [f"c1_{i} * a"] if self._has("c1", i) else []
        turned += [f"beta_c1_{i} * {place}"] if self._moves(f"c1_{i}") else []
        turned += [f"beta_c0_{i}"] if self._moves(f"c0_{i}") else []
        spread = self._stretch(f"spread_{i}", times=1 if self.family.log_n else 2)
        lines = [
            f"weight_{i} = {algebra.weight(i)}",
            f"turned_{i} = {total(turned)}",
            f"spread_{i} = u_{i} * u_phi_{i} + moment_{i}",
            f"round_{i} = density_{i} + v_{i} * turn_{i}",
            f"moved_tail_{i} = -({total([f'u_phi_{i} * delta_{i}', *self._stretch(f'moment_{i}')])})",
            f"slope_tail_{i} = -(turned_{i} * u_phi_{i} + weight_{i} * (n * delta_{i} * round_{i}))",
        ]
        by_n = total([f"(-(u_{i} * round_{i}) * delta_{i})", *spread])
        parts["value"] += [f"turned_{i} * (w * moment_{i})", f"weight_{i} * moved_tail_{i}"]
        parts["slope"].append(f"slope_tail_{i}")
        parts["slope"] += [f"beta_c1_{i} * (w * moment_{i})"] if self._moves(f"c1_{i}") else []
        parts["slope"] += [f"c1_{i} * moved_tail_{i}"] if self._has("c1", i) else []
        parts["knots"].append(f"(-slope_tail_{i})")
        parts["c0"].append(f"moved_tail_{i}")
        parts["c1"].append(f"(a * (w * moment_{i}) + {place} * moved_tail_{i})")
        parts["n"].append(f"(weight_{i} * ({by_n}) - (turned_{i} * w) * spread_{i})")
        return lines

    def _tilt(self) -> str:
        """Return how the line's slope moves."""
        parts = ["beta_left"] if self._moves("left") else []
        moved = [i for i in self.algebra.indices if self._moves(f"jumps_{i}")]
        return total([*parts, *(f"tl.where(right_{i}, beta_jumps_{i}, 0.0)" for i in moved)])

    def value(self, near: bool) -> str:
        """Return F."""
        parts = [f"a * ({self.algebra.slope_of_line()})"]
        if self._tilt() != "0.0":
            parts.append("tl.where(tilt != 0, tilt * x, 0.0)")  # 0·inf
        if self._moves("offset"):
            parts.append("beta_offset")
        for i in self.algebra.indices:
            rise = [f"beta_steps_{i}"] if self._moves(f"steps_{i}") else []
            if self._moves(f"jumps_{i}") and self._has("knots", i):
                rise.append(f"(-beta_jumps_{i} * knots_{i})")
            if self._moves(f"knots_{i}") and self._has("jumps", i):
                rise.append(f"(-jumps_{i} * beta_knots_{i})")
            if rise:
                parts.append(f"tl.where(right_{i}, {total(rise)}, 0.0)")
        return total([*parts, *(f"by_value_{i}" for i in self.algebra.indices if near)])

    def slope(self, near: bool) -> str:
        """Return the derivative of F by x."""
        return total(["(tilt + 0 * a)", *(f"by_slope_{i}" for i in self.algebra.indices if near)])

    def partial(self, index: int, near: bool) -> str | None:
        """Return the derivative of F by one parameter; None where it is zero."""
        parts = []
        for name, slot in self.slots.items():
            weight = weight_of(slot, index)
            found = self._by_coefficient(name, near) if weight else []
            if found:
                parts.append(f"{weight!r} * ({total(found)})")
        weight = weight_of(self.family.n, index)
        if weight and near and self.algebra.count:
            by_n = total([f"by_n_{i}" for i in self.algebra.indices])
            parts.append(f"{weight!r} * ({by_n})" + ("" if self.family.log_n else " * w"))
        return total(parts) if parts else None

    def _by_coefficient(self, name: str, near: bool) -> list[str]:
        if name in ("left", "offset"):
            return ["a"] if name == "left" else []
        group, _, number = name.rpartition("_")
        i = int(number)
        parts = [f"by_{group}_{i}"] if near else []
        if group == "jumps":
            parts.append(f"tl.where(right_{i}, eta_{i}, 0.0)")
        if group == "knots" and self._moves(f"jumps_{i}"):
            parts.append(f"tl.where(right_{i}, -beta_jumps_{i}, 0.0)")
        return parts
