"""The text by which a pass finds x from y, for functions of one knot at 0 whose slope keeps its sign.

It is what ``native/src/inverse.h`` does, on tiles: beyond the kernel's reach x is a quotient, and a tile of such
elements alone takes no more than that. Within it Halley's steps solve ``f(x) = y`` in units of the width, ``u = n·x``
and ``v = n·y``, both slopes divided by the larger one. They start from the inverse of the kinked line, or of the
Squareplus-like curve with the same value at 0 where that lies further left, and go on until no element moves.

Where the parameters do not tell x (:func:`bevel.ops._inverse.tells` is the same rule) x is NaN, or in backward what
comes in as g, and with it every gradient of the channel: the host does not know the values, and no wrong number may
come out.
"""

from __future__ import annotations

from bevel.ops.triton.algebra import Algebra
from bevel.ops.triton.walk import indent

_STEPS = 16  # at most; a function that needs as many is none that the rule lets through
_FAR = {"half": 2.0**24, "single": 2.0**24, "double": 2.0**53}  # from here on all is line for any kernel
# Relative to max(1, |u|). A step's error is the cube of the one before, at an edge of a compact kernel the square.
_ENOUGH = {"half": 2.0**-6, "single": 2.0**-9, "double": 2.0**-19}
_ENOUGH_COMPACT = {"half": 2.0**-9, "single": 2.0**-16, "double": 2.0**-30}


class Inverse:
    """The text of one family's inverse.

    Args:
        algebra: of the family.
        accuracy, reach: of the kernel's forms, see ``kernel_terms``.
        name: of the tensor that holds y.
        arguments: what the kernel's forms take beside v and rest.
    """

    def __init__(self, algebra: Algebra, accuracy: str, reach: float, name: str, arguments: str) -> None:
        self.accuracy = accuracy
        self.kernel = algebra.family.kernel
        self.smoothed = algebra.smoothed
        self.reach = reach
        self.name = name
        self.arguments = arguments
        self.tail = not algebra.zero["c0_0"]  # of SAU's published form
        self.jump = "0.0" if algebra.zero["jumps_0"] else "jumps_0"

    def wanted(self) -> tuple[str, ...]:
        """Return the forms of the kernel that it takes, as a function ``inverse_forms``."""
        if not self.smoothed:
            return ()
        return ("density", "survival", "excess", *(["moment"] if self.tail else []))

    def head(self) -> list[str]:
        """Return assignments of what does not change from tile to tile: whether y tells x, and the units."""
        lines = [
            f"other = left + {self.jump}",
            "larger = tl.maximum(tl.abs(left), tl.abs(other))",
            # NaN where one of them is infinite or NaN; a minimum alone may be the other one
            "smaller = tl.minimum(tl.abs(left), tl.abs(other)) + ((left - left) + (other - other))",
            *self._least(),
            "told = smaller >= least",
        ]
        if not self.smoothed:
            return [*lines, "told = told & (tl.minimum(left, other - 0.5) > 0)", "low = 1 / left", "high = 1 / other"]
        lines += [
            "told = told & ((left > 0) == (other > 0)) & (smaller >= 0.0001 * larger)",
            "unit = tl.where(left < 0, -1 / larger, 1 / larger)",
            "low = left * unit",
            "high = other * unit",
            f"kink = {self.jump} * unit",
            f"bump = ({'kink + c0_0 * unit' if self.tail else 'kink'}) * {self.kernel.gap!r}",
            "product = low * high",
            "over_low = 1 / low",
            "over_high = 1 / high",
        ]
        if self.tail:
            lines += ["tail = c0_0 * unit", "told = told & (kink >= 0) & (tail >= 0) & (tail <= low)"]
        return lines

    def _least(self) -> list[str]:
        """Return the assignment of the slope below which a y may be subnormal where x is not."""
        if self.accuracy == "double":
            return ["least = 1e-290"]
        if self.accuracy == "single":
            return ["least = 1e-30"]
        return [
            f"if {self.name}_.dtype.element_ty == tl.float16:",
            "    least = 1e-4",
            "else:",
            "    least = 1e-30",
        ]

    def lines(self, masked: bool) -> list[str]:
        """Return assignments of x from y, which has the dtype of arithmetic."""
        if not self.smoothed:
            return ["x = y * tl.where(y > 0, high, low)"]
        limit = min(self.reach, _FAR[self.accuracy])
        return [
            "t = y * unit",
            "v = t * n",
            "u = v",
            f"zone = tl.abs(v) < tl.where(v > 0, high, low) * {limit!r}",
            *(["zone = zone & keep"] if masked else []),
            "if tl.max(zone.to(tl.int32)) > 0:",
            *indent(self._start()),
            f"    rounds = {_STEPS}",
            "    while rounds > 0:",
            *indent(indent(self._step())),
            "x = tl.where(zone, u * w, t * tl.where(v > 0, over_high, over_low))",
        ]

    def _start(self) -> list[str]:
        least = 2.5 * self.kernel.gap
        return [
            "line = (0.5 * (low + high)) * v",
            "half = (0.5 * kink) * v",
            "root = tl.sqrt(product * bump * bump + half * half)",
            "root = tl.where(kink < 0, -root, root)",
            "both = line + root",
            "right = v * root > 0",  # of two equal expressions the one that does not cancel
            "curved = tl.where(right, v * v - bump * bump, line - root) / tl.where(right, both, product)",
            "kinked = v * tl.where(v > 0, over_high, over_low)",
            f"convex = tl.minimum(kinked, tl.maximum(curved, {-least!r}))",
            f"concave = tl.maximum(kinked, tl.minimum(curved, {least!r}))",
            "u = tl.where(zone, tl.where(kink < 0, concave, convex), 0.0)",
        ]

    def _step(self) -> list[str]:
        enough = (_ENOUGH_COMPACT if self.kernel.compact else _ENOUGH)[self.accuracy]
        tail = " + tail * moment" if self.tail else ""
        weight = "kink - tail * (1 - u * u)" if self.tail else "kink"
        bend = " - tail * (u * density)" if self.tail else ""
        return [
            f"{', '.join(self.wanted())} = inverse_forms(tl.abs(u), 0.0{self.arguments})",
            "side = tl.where(u > 0, high, low)",
            f"off = (side * u - v) + kink * excess{tail}",
            f"slope = side + kink * tl.where(u > 0, -survival, survival){bend}",
            f"curvature = ({weight}) * density",
            "square = slope * slope",
            "move = tl.where(zone, off * slope / tl.maximum(square - 0.5 * off * curvature, 0.5 * square), 0.0)",
            "u = u - move",
            f"moving = tl.max(tl.where(tl.abs(move) > {enough!r} * tl.maximum(tl.abs(u), 1.0), 1, 0))",
            "rounds = tl.where(moving > 0, rounds - 1, 0)",
        ]
