"""MPELU: an ELU with two learnt numbers, between PReLU and ELU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevel.nn._base import Device, Entry, FormulaActivation

CITATION = (
    "Li, Fan, Li, Wu, Ming: Improving deep neural network with Multiple Parametric Exponential Linear Units. "
    "Neurocomputing 301, 11-24 (2018), arXiv:1606.00305"
)


class MPELU(FormulaActivation):
    """``x`` for x > 0, ``α·(exp(β·x) − 1)`` otherwise, α and β learnt.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial value of α. Default: 0.25; reports of the authors' name 0.25 and 1, which of them is doubtful.
        beta: initial value of β. Default: 1; doubtful likewise.
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
        >>> f = bevel.nn.MPELU(alpha=1.0)
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 3.0])).tolist()]
        [-0.6321, 0.0, 3.0]

    Source: Li et al.: Multiple Parametric Exponential Linear Units. Neurocomputing 2018, arXiv:1606.00305.
    """

    alpha: nn.Parameter
    beta: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.25,
        beta: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"alpha": alpha, "beta": beta}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, beta = parameters
        return torch.where(x > 0, x, alpha * torch.expm1(beta * x.clamp(max=0.0)))


ENTRIES = {
    "mpelu": Entry(
        factory=MPELU,
        formula="x for x > 0, α·(exp(βx) − 1) for x ≤ 0",
        summary="multiple parametric ELU (2018), α and β learnt",
        citations=(CITATION,),
        latex=r"\begin{cases} x & x > 0 \\ \alpha (e^{\beta x} - 1) & x \le 0 \end{cases}",
        use="As a control between PReLU (β near 0) and ELU (α = β = 1).",
        avoid="Where β may be driven below 0: the left side grows exponentially then.",
    )
}
