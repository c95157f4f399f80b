"""The biweight (quartic) kernel: compact and once continuously differentiable."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Biweight(Kernel):
    name = "biweight"
    formula = "15/16·(1 - u²)² on (-1, 1)"
    latex = r"\tfrac{15}{16} \max(1 - u^2, 0)^2"
    use = "A continuous third derivative and exact ends."
    avoid = "Where a fourth derivative is needed: it jumps at the edges."
    native = 8
    variance = 1 / 7
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        return 15 / 16 * (1 - v) ** 2 * (1 + v) ** 2

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 * (8 + v * (9 + 3 * v)) / 16

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 4 * (5 + v * (4 + v)) / 32

    def second(self, v: Tensor) -> Tensor:
        return (1 - v) ** 5 * (8 + v * (5 + v)) / 224

    triton = """
    z = edge(v, rest)
    y = z * (1 + v)
    density = 0.9375 * y * y
    turn = -3.75 * v * y
    survival = z * z * z * (0.5 + v * (0.5625 + v * 0.1875))
    excess = z * z * z * z * (0.15625 + v * (0.125 + v * 0.03125))
    second = z * z * z * z * z * (0.03571428571428571 + v * (0.022321428571428572 + v * 0.004464285714285714))
    """


ENTRIES = {"biweight": Biweight()}
