"""The triangle (a box convolved with itself)."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Triangle(Kernel):
    name = "triangle"
    formula = "1 - |u| on (-1, 1)"
    latex = r"\max(1 - |u|, 0)"
    use = "A continuous second derivative and exact ends, in polynomials."
    avoid = "Where a third derivative is needed: it jumps at the knot and at the edges."
    native = 6
    variance = 1 / 6
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        return 1 - v

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 / 2

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 / 6

    def second(self, v: Tensor) -> Tensor:
        return (1 - v) ** 4 / 24

    triton = """
    z = edge(v, rest)
    density = z
    survival = 0.5 * z * z
    excess = z * z * z * 0.16666666666666666
    second = z * z * z * z * 0.041666666666666664
    turn = tl.where(z > 0, -1.0, 0.0).to(z.dtype)
    """


ENTRIES = {"triangle": Triangle()}
