"""Units built on softplus: EIS-2 and TanhSoft-1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.nn._base import Device, Entry, FormulaActivation
from bevel.portable import hypot


class EIS2(FormulaActivation):
    """``x·softplus(x) / √(β + γx²)``, β and γ learnt.

    The root is of ``|β| + |γ|x²``, so that training cannot leave its domain.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        beta: initial value of β. Default: 1.
        gamma: initial value of γ. Default: 1.
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
        >>> f = bevel.nn.EIS2()
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 1.0])).tolist()]
        [-0.2215, 0.0, 0.9286]

    Source: Biswas, Kumar, Banerjee, Pandey: EIS - Efficient and Trainable Activation Functions for Better Accuracy and
    Performance. 2020, arXiv:2009.13501.
    """

    beta: nn.Parameter
    gamma: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        beta: float = 1.0,
        gamma: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"beta": beta, "gamma": gamma}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        beta, gamma = parameters
        return F.softplus(x) * (x / hypot(beta.abs().sqrt(), gamma.abs().sqrt() * x))


class TanhSoft1(FormulaActivation):
    """``tanh(αx)·softplus(x)``, α learnt.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial value of α. Default: 0.87.
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
        >>> f = bevel.nn.TanhSoft1()
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 1.0])).tolist()]
        [-0.2197, 0.0, 0.9211]

    Source: Biswas, Kumar, Banerjee, Pandey: TanhSoft - Dynamic Trainable Activation Functions for Faster Learning and
    Better Performance. IEEE Access 9 (2021).
    """

    alpha: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.87,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"alpha": alpha}, dim=dim, device=device, dtype=dtype)

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
        latex=r"\frac{x \ln(1 + e^x)}{\sqrt{\beta + \gamma x^2}}",
        use="As a baseline of the family of learnable, Swish-like units.",
        avoid="Where the function must be monotone, or two transcendental functions an element are too many.",
    ),
    "tanhsoft1": Entry(
        factory=TanhSoft1,
        formula="tanh(αx)·ln(1+eˣ)",
        summary="TanhSoft-1, α learnt",
        citations=(
            "Biswas, Kumar, Banerjee, Pandey: TanhSoft - Dynamic Trainable Activation Functions for Faster Learning "
            "and Better Performance. IEEE Access 9 (2021)",
        ),
        latex=r"\tanh(\alpha x) \ln(1 + e^x)",
        use="As a baseline of the family of learnable, Swish-like units.",
        avoid="Where the function must be monotone, or two transcendental functions an element are too many.",
    ),
}
