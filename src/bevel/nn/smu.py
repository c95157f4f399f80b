"""SMU and SMU-1: Leaky ReLU as a smooth maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.nn._base import Entry, FormulaActivation
from bevel.portable import hypot

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: Smooth Maximum Unit: Smooth Activation Function for Deep Networks using "
    "Smoothing Maximum Technique. CVPR 2022"
)


class SMU(FormulaActivation):
    """``[(1+α)x + (1−α)x·erf(μ(1−α)x)]/2`` with a learnt μ.

    Args:
        num_parameters: 1 (shared) or the channel count.
        alpha: slope for x ≪ 0, learnt; 0.01 is the authors' later advice (their first code had 0.25).
        mu: initial sharpness, learnt; 2.5 is the authors' later advice (their first code had 1e6).
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("alpha", "mu")

    def __init__(
        self, num_parameters: int = 1, alpha: float = 0.01, mu: float = 2.5, dim: int = 1, inplace: bool = False
    ) -> None:
        super().__init__(num_parameters, dim)
        self.alpha, self.mu = self.learnable(alpha), self.learnable(mu)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, mu = parameters
        return ((1 + alpha) * x + (1 - alpha) * x * torch.erf(mu * (1 - alpha) * x)) / 2


class SMU1(FormulaActivation):
    """``[(1+α)x + √((1−α)²x² + μ²)]/2`` with a learnt μ.

    Args:
        num_parameters: 1 (shared) or the channel count.
        alpha: slope for x ≪ 0, learnt.
        mu: initial width, learnt; the authors' 4.35e-9.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("alpha", "mu")

    def __init__(
        self, num_parameters: int = 1, alpha: float = 0.25, mu: float = 4.35e-9, dim: int = 1, inplace: bool = False
    ) -> None:
        super().__init__(num_parameters, dim)
        self.alpha, self.mu = self.learnable(alpha), self.learnable(mu)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, mu = parameters
        # hypot: mu² = 2e-17 would be lost beside x² and its root's gradient is 0/0 at x = 0 without it.
        return ((1 + alpha) * x + hypot((1 - alpha) * x, mu)) / 2


ENTRIES = {
    "smu": Entry(
        factory=SMU,
        formula="[(1+α)x + (1−α)x·erf(μ(1−α)x)]/2",
        summary="smooth maximum unit (CVPR 2022), α and μ learnt",
        citations=(CITATION,),
    ),
    "smu1": Entry(
        factory=SMU1,
        formula="[(1+α)x + √((1−α)²x² + μ²)]/2",
        summary="smooth maximum unit with a square root (CVPR 2022), α and μ learnt",
        citations=(CITATION,),
    ),
}
