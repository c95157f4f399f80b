"""Swish with a learnt slope, and ACON-C, which generalises it."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.nn._base import Entry, FormulaActivation


class Swish(FormulaActivation):
    """``x·σ(βx)`` with β learnt.

    Args:
        num_parameters: 1 (shared) or the channel count.
        beta: initial value.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("beta",)

    def __init__(self, num_parameters: int = 1, beta: float = 1.0, dim: int = 1, inplace: bool = False) -> None:
        super().__init__(num_parameters, dim)
        self.beta = self.learnable(beta)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        (beta,) = parameters
        return x * torch.sigmoid(beta * x)


class ACONC(FormulaActivation):
    """``(p1−p2)x·σ(β(p1−p2)x) + p2·x``.

    Args:
        num_parameters: the channel count for the paper's per-channel parameters; 1 shares them.
        p1, p2, beta: initial values, learnt; the paper's (the official code draws p1, p2 from N(0, 1)).
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = ("p1", "p2", "beta")

    def __init__(
        self,
        num_parameters: int = 1,
        p1: float = 1.0,
        p2: float = 0.0,
        beta: float = 1.0,
        dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__(num_parameters, dim)
        self.p1, self.p2, self.beta = self.learnable(p1), self.learnable(p2), self.learnable(beta)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        p1, p2, beta = parameters
        difference = (p1 - p2) * x
        return difference * torch.sigmoid(beta * difference) + p2 * x


ENTRIES = {
    "swish": Entry(
        factory=Swish,
        formula="x·σ(βx)",
        summary="Swish with a learnt β",
        citations=("Ramachandran, Zoph, Le: Searching for Activation Functions. 2017, arXiv:1710.05941",),
    ),
    "acon_c": Entry(
        factory=ACONC,
        formula="(p₁−p₂)x·σ(β(p₁−p₂)x) + p₂x",
        summary="ACON-C (CVPR 2021), all three parameters learnt",
        citations=("Ma, Zhang, Liu, Sun: Activate or Not: Learning Customized Activation. CVPR 2021",),
    ),
}
