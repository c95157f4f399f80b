"""The Laplace density: all three forms are one exponential."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.kernel import Kernel


class Laplace(Kernel):
    name = "laplace"
    formula = "exp(-|u|) / 2"
    latex = r"\tfrac12 e^{-|u|}"
    use = "Exponential tails at the cost of one exp."
    avoid = "Where a third derivative is needed at the knot: the density has a corner there."
    native = 3
    variance = 2.0
    reach = 746.0  # exp(-746) is zero in float64

    def density(self, v: Tensor) -> Tensor:
        return 0.5 * torch.exp(-v)

    def survival(self, v: Tensor) -> Tensor:
        return 0.5 * torch.exp(-v)

    def excess(self, v: Tensor) -> Tensor:
        return 0.5 * torch.exp(-v)

    def second(self, v: Tensor) -> Tensor:
        return 0.5 * torch.exp(-v)

    triton = """
    density = 0.5 * exp_minus(v, rest)
    survival = density
    excess = density
    second = density
    turn = -density
    """


ENTRIES = {"laplace": Laplace()}
