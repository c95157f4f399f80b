"""Epanechnikov's parabola, the kernel of least variance at a given roughness."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Epanechnikov(Kernel):
    name = "epanechnikov"
    formula = "¾(1 - u²) on (-1, 1)"
    latex = r"\tfrac34 \max(1 - u^2, 0)"
    use = "A continuous second derivative and exact ends; S-ReLU."
    avoid = "Where a third derivative is needed: it jumps at the edges."
    native = 7
    variance = 1 / 5
    reach = 1.0
    compact = True
    relu_name = "S-ReLU"

    def density(self, v: Tensor) -> Tensor:
        return 0.75 * (1 - v) * (1 + v)

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 * (2 + v) / 4

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 * (3 + v) / 16

    def second(self, v: Tensor) -> Tensor:
        return (1 - v) ** 4 * (4 + v) / 80

    triton = """
    z = edge(v, rest)
    density = 0.75 * z * (1 + v)
    survival = z * z * (0.5 + 0.25 * v)
    excess = z * z * z * (0.1875 + 0.0625 * v)
    second = z * z * z * z * (0.05 + 0.0125 * v)
    turn = tl.where(z > 0, -1.5 * v, 0.0)
    """


ENTRIES = {"epanechnikov": Epanechnikov()}
