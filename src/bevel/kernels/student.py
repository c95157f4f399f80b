"""Student's t with two degrees of freedom, scaled: it turns ReLU into Squareplus (and Leaky ReLU into SMU-1)."""

from __future__ import annotations

import math

from torch import Tensor

from bevel.kernel import Kernel
from bevel.portable import hypot


def _hypot1(v: Tensor) -> Tensor:
    return hypot(v, v.new_ones(()))  # √(1+v²) without overflow


class Student(Kernel):
    name = "student"
    formula = "(1+u²)^(-3/2) / 2"
    latex = r"\tfrac12 (1 + u^2)^{-3/2}"
    use = "Square roots in the place of exp: Squareplus, SMU-1."
    avoid = "Where the kinked function must be reached: its tails fall as a power of u and never vanish."
    native = 4
    variance = math.inf
    relu_name = "Squareplus, SMU-1"
    relu_rows = ("squareplus", "smu1")

    def density(self, v: Tensor) -> Tensor:
        return 0.5 * _hypot1(v) ** -3

    def survival(self, v: Tensor) -> Tensor:
        h = _hypot1(v)
        return 0.5 / (h * (h + v))  # = (1 - v/h)/2, without the difference

    def excess(self, v: Tensor) -> Tensor:
        return 0.5 / (_hypot1(v) + v)  # = (h - v)/2

    def moment(self, v: Tensor) -> Tensor:
        return 0.5 / _hypot1(v)

    triton = """
    h = tl.where(v > 1e9, v, tl.sqrt(v * v + 1))
    near = reciprocal(h)
    excess = 0.5 * reciprocal(h + v)
    survival = excess * near
    density = 0.5 * near * near * near
    moment = 0.5 * near
    turn = -3 * (v * near) * near * density
    """


ENTRIES = {"student": Student()}
