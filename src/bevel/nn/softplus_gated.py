"""Units built on softplus: EIS-2 and TanhSoft-1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevel.nn._base import Entry, FormulaActivation
from bevel.portable import hypot


class EIS2(FormulaActivation):
    """``x·softplus(x) / √(β + γx²)``.

    Args:
        num_parameters: 1 (shared) or the channel count.
        beta, gamma: initial values, learnt; the root is of ``|β| + |γ|x²``, so that training cannot leave its domain.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("beta", "gamma")

    def __init__(
        self, num_parameters: int = 1, beta: float = 1.0, gamma: float = 1.0, dim: int = 1, inplace: bool = False
    ) -> None:
        super().__init__(num_parameters, dim)
        self.beta, self.gamma = self.learnable(beta), self.learnable(gamma)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        beta, gamma = parameters
        return F.softplus(x) * (x / hypot(beta.abs().sqrt(), gamma.abs().sqrt() * x))


class TanhSoft1(FormulaActivation):
    """``tanh(αx)·softplus(x)``.

    Args:
        num_parameters: 1 (shared) or the channel count.
        alpha: initial value, learnt.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("alpha",)

    def __init__(self, num_parameters: int = 1, alpha: float = 0.87, dim: int = 1, inplace: bool = False) -> None:
        super().__init__(num_parameters, dim)
        self.alpha = self.learnable(alpha)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        (alpha,) = parameters
        return torch.tanh(alpha * x) * F.softplus(x)


ENTRIES = {
    "eis2": Entry(
        factory=EIS2,
        formula="x·ln(1+eˣ) / √(β + γx²)",
        summary="EIS-2, β and γ learnt",
        citations=(
            "Biswas, Kumar, Banerjee, Pandey: EIS - Efficient and Trainable Activation Functions for Better Accuracy "
            "and Performance. 2020, arXiv:2009.13501",
        ),
    ),
    "tanhsoft1": Entry(
        factory=TanhSoft1,
        formula="tanh(αx)·ln(1+eˣ)",
        summary="TanhSoft-1, α learnt",
        citations=(
            "Biswas, Kumar, Banerjee, Pandey: TanhSoft - Dynamic Trainable Activation Functions for Faster Learning "
            "and Better Performance. IEEE Access 9 (2021)",
        ),
    ),
}
