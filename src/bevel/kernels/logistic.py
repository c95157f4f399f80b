"""The logistic density: it turns ReLU into Softplus."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.kernels._second import SECOND
from bevel.portable import horner


class Logistic(Kernel):
    name = "logistic"
    formula = "σ(u)·σ(-u)"
    latex = r"\sigma(u)\,\sigma(-u)"
    use = "Softplus in the place of ReLU; exponential tails."
    avoid = "Where the error must be small at small n: its gap is the largest, 1.7 times the Gaussian's."
    native = 2
    variance = math.pi**2 / 3
    reach = 746.0  # exp(-746) is zero in float64
    relu_name = "Softplus"
    relu_rows = ("softplus",)

    def density(self, v: Tensor) -> Tensor:
        return torch.sigmoid(v) * torch.sigmoid(-v)

    def survival(self, v: Tensor) -> Tensor:
        return torch.sigmoid(-v)

    def excess(self, v: Tensor) -> Tensor:
        return torch.log1p(torch.exp(-v))

    def second(self, v: Tensor) -> Tensor:
        e = torch.exp(-v)
        return e * horner(SECOND["logistic"], 2 * e - 1)  # −Li₂(−e)

    triton = """
    e = exp_minus(v, rest)
    upper = reciprocal(1 + e)
    survival = e * upper
    density = survival * upper
    excess = e * log1p(centred(e))
    second = e * logistic_second(centred(e))
    turn = density * (2 * survival - 1)
    """


ENTRIES = {"logistic": Logistic()}
