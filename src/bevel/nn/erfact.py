"""ErfAct and Pserf."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevel.nn._base import Entry, FormulaActivation

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: ErfAct and Pserf: Non-monotonic Smooth Trainable Activation Functions. AAAI 2022"
)


class ErfAct(FormulaActivation):
    """``x·erf(α·exp(βx))``.

    Args:
        num_parameters: 1 (shared) or the channel count.
        alpha, beta: initial values, learnt.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("alpha", "beta")

    def __init__(
        self, num_parameters: int = 1, alpha: float = 0.75, beta: float = 0.75, dim: int = 1, inplace: bool = False
    ) -> None:
        super().__init__(num_parameters, dim)
        self.alpha, self.beta = self.learnable(alpha), self.learnable(beta)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, beta = parameters
        # erf is 1 to the last bit of float64 from 6 on; the clamp keeps exp finite and its gradient 0 instead of inf·0.
        return x * torch.erf(alpha * torch.exp((beta * x).clamp(max=40.0)))


class Pserf(FormulaActivation):
    """``x·erf(γ·ln(1 + exp(σx)))``.

    Args:
        num_parameters: 1 (shared) or the channel count.
        gamma, sigma: initial values, learnt.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("gamma", "sigma")

    def __init__(
        self, num_parameters: int = 1, gamma: float = 1.25, sigma: float = 0.85, dim: int = 1, inplace: bool = False
    ) -> None:
        super().__init__(num_parameters, dim)
        self.gamma, self.sigma = self.learnable(gamma), self.learnable(sigma)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        gamma, sigma = parameters
        return x * torch.erf(gamma * F.softplus(sigma * x))


ENTRIES = {
    "erfact": Entry(
        factory=ErfAct, formula="x·erf(α·exp(βx))", summary="ErfAct (AAAI 2022), α and β learnt", citations=(CITATION,)
    ),
    "pserf": Entry(
        factory=Pserf,
        formula="x·erf(γ·ln(1 + exp(σx)))",
        summary="parametric softplus-erf (AAAI 2022), γ and σ learnt",
        citations=(CITATION,),
    ),
}
