"""Swish with a learnt slope, and ACON-C, which generalizes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevel.nn._base import Device, Entry
from bevel.nn._gated import GatedFormula
from bevel.terms import Coefficient


class Swish(GatedFormula):
    """``x·σ(βx)`` with β learnt.

    Eager calls run it as a gate, ``bevel.nn.Gate(kernel="logistic")`` with n = abs(β), and by the formula where β is 0.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        beta: initial value of β. Default: 1, where it is SiLU.
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
        >>> f = bevel.nn.Swish()
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 1.0])).tolist()]
        [-0.2689, 0.0, 0.7311]

    Source: Ramachandran, Zoph, Le: Searching for Activation Functions. 2017, arXiv:1710.05941.
    """

    kernel = "logistic"
    beta: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        beta: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"beta": beta}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        (beta,) = parameters
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def gate(*parameters: Tensor) -> tuple[Coefficient, Coefficient, Tensor]:
        (beta,) = parameters
        return 1.0, 0.0, beta


class ACONC(GatedFormula):
    """``(p1−p2)x·σ(β(p1−p2)x) + p2·x``, all three parameters learnt.

    The paper has one set per channel and starts with p1 = 1, p2 = 0; the official code draws p1 and p2 from N(0, 1).
    Eager calls run it as a gate, with slopes p1 and p2 and n = abs(β·(p1 − p2)), and by the formula where n would be 0.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        p1: initial slope for x ≫ 0. Default: 1.
        p2: initial slope for x ≪ 0. Default: 0.
        beta: initial value of β. Default: 1.
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
        >>> f = bevel.nn.ACONC(8, p2=0.25)
        >>> f(torch.tensor([0.0]).expand(2, 8)).shape
        torch.Size([2, 8])

    Source: Ma, Zhang, Liu, Sun: Activate or Not: Learning Customized Activation. CVPR 2021.
    """

    kernel = "logistic"
    p1: nn.Parameter
    p2: nn.Parameter
    beta: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        p1: float = 1.0,
        p2: float = 0.0,
        beta: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"p1": p1, "p2": p2, "beta": beta}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        p1, p2, beta = parameters
        difference = (p1 - p2) * x
        return difference * torch.sigmoid(beta * difference) + p2 * x

    @staticmethod
    def gate(*parameters: Tensor) -> tuple[Coefficient, Coefficient, Tensor]:
        p1, p2, beta = parameters
        return p1, p2, beta * (p1 - p2)


ENTRIES = {
    "swish": Entry(
        factory=Swish,
        formula="x·σ(βx)",
        summary="Swish with a learnt β",
        citations=("Ramachandran, Zoph, Le: Searching for Activation Functions. 2017, arXiv:1710.05941",),
        latex=r"x\,\sigma(\beta x)",
        use="As SiLU with a sharpness that is learned.",
        avoid="Where the function must be monotone, or must ship as a kinked one: it does not harden.",
    ),
    "acon_c": Entry(
        factory=ACONC,
        formula="(p₁−p₂)x·σ(β(p₁−p₂)x) + p₂x",
        summary="ACON-C (CVPR 2021), all three parameters learnt",
        citations=("Ma, Zhang, Liu, Sun: Activate or Not: Learning Customized Activation. CVPR 2021",),
        latex=r"(p_1 - p_2)\,x\,\sigma\bigl(\beta (p_1 - p_2)\,x\bigr) + p_2\,x",
        use="Where Swish is, if both outer slopes are to be learned; one set per channel is the paper's.",
        avoid="Where three parameters a channel are too many, or the function must be monotone.",
    ),
}
