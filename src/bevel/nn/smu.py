"""SMU and SMU-1: Leaky ReLU as a smooth maximum."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bevel.nn._base import Device, Entry, FormulaActivation
from bevel.nn._gated import GatedFormula
from bevel.portable import hypot
from bevel.terms import Coefficient

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: Smooth Maximum Unit: Smooth Activation Function for Deep Networks using "
    "Smoothing Maximum Technique. CVPR 2022"
)


class SMU(GatedFormula):
    """``[(1+α)x + (1−α)x·erf(μ(1−α)x)]/2`` with α and μ learnt: Leaky ReLU as a smooth maximum.

    Eager calls run it as a gate, with slopes 1 and α, the Gaussian and n = abs(√2·μ·(1 − α)), and by the formula where
    that is 0.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial slope for x ≪ 0; 0.01 is the authors' later advice (their first code had 0.25). Default: 0.01.
        mu: initial sharpness; 2.5 is the authors' later advice (their first code had 1e6). Default: 2.5.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis or initial value.

    Example:
        >>> import torch, bevel
        >>> f = bevel.nn.SMU(alpha=0.25)
        >>> [round(y, 4) for y in f(torch.tensor([-4.0, 0.0, 4.0])).tolist()]
        [-1.0, 0.0, 4.0]

    Source: Biswas, Kumar, Banerjee, Pandey: Smooth Maximum Unit. CVPR 2022.
    """

    kernel = "gaussian"
    alpha: nn.Parameter
    mu: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.01,
        mu: float = 2.5,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"alpha": alpha, "mu": mu}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, mu = parameters
        return ((1 + alpha) * x + (1 - alpha) * x * torch.erf(mu * (1 - alpha) * x)) / 2

    @staticmethod
    def gate(*parameters: Tensor) -> tuple[Coefficient, Coefficient, Tensor]:
        alpha, mu = parameters
        return 1.0, alpha, math.sqrt(2) * mu * (1 - alpha)  # erf(v) = 2·cdf(√2·v) − 1


class SMU1(FormulaActivation):
    """``[(1+α)x + √((1−α)²x² + μ²)]/2`` with α and μ learnt: a smooth maximum by a square root.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial slope for x ≪ 0. Default: 0.25.
        mu: initial width. Default: 4.35e-9, the authors'.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis or initial value.

    Example:
        >>> import torch, bevel
        >>> f = bevel.nn.SMU1(alpha=0.25, mu=1.0)
        >>> f(torch.tensor([0.0])).tolist()  # μ/2
        [0.5]

    Source: Biswas, Kumar, Banerjee, Pandey: Smooth Maximum Unit. CVPR 2022.
    """

    alpha: nn.Parameter
    mu: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.25,
        mu: float = 4.35e-9,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"alpha": alpha, "mu": mu}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, mu = parameters
        # Without hypot, mu² = 2e-17 would be lost beside x², and the gradient of its root would be 0/0 at x = 0.
        return ((1 + alpha) * x + hypot((1 - alpha) * x, mu)) / 2


ENTRIES = {
    "smu": Entry(
        factory=SMU,
        formula="[(1+α)x + (1−α)x·erf(μ(1−α)x)]/2",
        summary="smooth maximum unit (CVPR 2022), α and μ learnt",
        citations=(CITATION,),
        latex=r"\tfrac12\left[(1 + \alpha)x + (1 - \alpha)x \operatorname{erf}\bigl(\mu(1 - \alpha)x\bigr)\right]",
        use="As GELU with a learned slope below zero and a learned sharpness.",
        avoid="Where the function must be monotone, or a proven distance to a kinked one is needed (SAU has one).",
    ),
    "smu1": Entry(
        factory=SMU1,
        formula="[(1+α)x + √((1−α)²x² + μ²)]/2",
        summary="smooth maximum unit with a square root (CVPR 2022), α and μ learnt",
        citations=(CITATION,),
        latex=r"\tfrac12\left[(1 + \alpha)x + \sqrt{(1 - \alpha)^2 x^2 + \mu^2}\right]",
        use="A smooth Leaky ReLU by a square root alone, with a learned width.",
        avoid="From the paper's start, μ = 4.35e-9, if the width is to be learned: its gradient is as small.",
    ),
}
