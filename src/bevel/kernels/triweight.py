"""The triweight kernel: compact and twice continuously differentiable."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Triweight(Kernel):
    name = "triweight"
    formula = "35/32·(1 - u²)³ on (-1, 1)"
    native = 9
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        return 35 / 32 * (1 - v) ** 3 * (1 + v) ** 3

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 4 * (16 + v * (29 + v * (20 + 5 * v))) / 32

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 5 * (35 + v * (47 + v * (25 + 5 * v))) / 256


ENTRIES = {"triweight": Triweight()}
