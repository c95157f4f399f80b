"""The box: it turns ReLU into SmeLU, a parabola between two lines."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Box(Kernel):
    name = "box"
    formula = "1/2 on (-1, 1)"
    native = 5
    reach = 1.0
    compact = True
    relu_name = "SmeLU"

    def density(self, v: Tensor) -> Tensor:
        return 0.5 * (v < 1).to(v.dtype)

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) / 2

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 / 4


ENTRIES = {"box": Box()}
