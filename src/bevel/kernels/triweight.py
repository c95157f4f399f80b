"""The triweight kernel: compact and twice continuously differentiable."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Triweight(Kernel):
    name = "triweight"
    formula = "35/32·(1 - u²)³ on (-1, 1)"
    latex = r"\tfrac{35}{32} \max(1 - u^2, 0)^3"
    use = "A continuous fourth derivative and exact ends."
    avoid = "Where every derivative must be continuous (`bump`)."
    native = 9
    variance = 1 / 9
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        return 35 / 32 * (1 - v) ** 3 * (1 + v) ** 3

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 4 * (16 + v * (29 + v * (20 + 5 * v))) / 32

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 5 * (35 + v * (47 + v * (25 + 5 * v))) / 256

    def second(self, v: Tensor) -> Tensor:
        return (1 - v) ** 6 * (64 + v * (69 + v * (30 + 5 * v))) / 2304

    triton = """
    z = edge(v, rest)
    y = z * (1 + v)
    density = 1.09375 * y * y * y
    turn = -6.5625 * v * y * y
    survival = z * z * z * z * (0.5 + v * (0.90625 + v * (0.625 + v * 0.15625)))
    excess = z * z * z * z * z * (0.13671875 + v * (0.18359375 + v * (0.09765625 + v * 0.01953125)))
    cube = z * z * z
    second = cube * cube * (64 + v * (69 + v * (30 + v * 5))) * 0.00043402777777777775
    """


ENTRIES = {"triweight": Triweight()}
