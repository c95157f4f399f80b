"""The box: it turns ReLU into SmeLU, a parabola between two lines."""

from __future__ import annotations

from torch import Tensor

from bevel.kernel import Kernel


class Box(Kernel):
    name = "box"
    formula = "1/2 on (-1, 1)"
    latex = r"\begin{cases} \tfrac12 & |u| < 1 \\ 0 & |u| \ge 1 \end{cases}"
    use = "The cheapest: a parabola between two lines, exact outside the width (SmeLU)."
    avoid = "Where a continuous second derivative is needed: it jumps at the edges."
    native = 5
    variance = 1 / 3
    reach = 1.0
    compact = True
    relu_name = "SmeLU"
    relu_rows = ("smelu",)

    def density(self, v: Tensor) -> Tensor:
        return 0.5 * (v < 1).to(v.dtype)

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) / 2

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 / 4

    def second(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 / 12

    triton = """
    z = edge(v, rest)
    density = tl.where(z > 0, 0.5, 0.0).to(z.dtype)
    survival = 0.5 * z
    excess = 0.25 * z * z
    second = z * z * z * 0.08333333333333333
    turn = 0 * z
    """


ENTRIES = {"box": Box()}
