"""PReNU: a ReLU that a logarithm bends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevel.nn._base import Device, Entry, FormulaActivation

CITATION = (
    "El Jaafari, Ellahyani, Charfi: Parametric rectified nonlinear unit (PRenu). Signal, Image and Video Processing "
    "15, 241-246 (2021)"
)


class PReNU(FormulaActivation):
    """``x − α·ln(x + 1)`` for x > 0, 0 otherwise, α learnt; α = 1 is ReNU, whose slope at 0 is 0.

    The paper was not at hand: formula and learnt α are as others report them, and the initial value is bevel's choice.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial value of α. Default: 0.25, bevel's choice.
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
        >>> f = bevel.nn.PReNU(alpha=1.0)
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 3.0])).tolist()]
        [0.0, 0.0, 1.6137]

    Source: El Jaafari, Ellahyani, Charfi: Parametric rectified nonlinear unit. SIViP 2021 (as reported; not read).
    """

    alpha: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.25,
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
        high = torch.where(x > 0, x, 0.0 * x)  # NaN stays NaN
        return high - alpha * torch.log1p(high)


ENTRIES = {
    "prenu": Entry(
        factory=PReNU,
        formula="x − α·ln(x + 1) for x > 0, 0 for x ≤ 0",
        summary="parametric rectified nonlinear unit (SIViP 2021), α learnt; formula as reported",
        citations=(CITATION,),
        latex=r"\begin{cases} x - \alpha \ln(x + 1) & x > 0 \\ 0 & x \le 0 \end{cases}",
        use="As a control that bends ReLU's right side: a relative that FReLU's paper names.",
        avoid="At α = 1, where its slope at 0 is 0 from both sides; where units die.",
    )
}
