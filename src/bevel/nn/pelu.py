"""PELU: an ELU whose scale on the left and slope on the right are learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bevel._checks import check_positive
from bevel.nn._base import Device, Entry, FormulaActivation

CITATION = "Trottier, Giguère, Chaib-draa: Parametric Exponential Linear Unit. ICMLA 2017, arXiv:1605.09332"


class PELU(FormulaActivation):
    """``(a/b)·x`` for x > 0, ``a·(exp(x/b) − 1)`` otherwise, a and b > 0 learnt: the slope at 0 is continuous.

    They are stored as their logarithms, ``log_a`` and ``log_b``, so that they stay > 0; the authors learn the numbers
    themselves and put them back to 0.1 after a step that went below.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        a: initial value of a, finite and > 0. Default: 1, the authors'.
        b: initial value of b, finite and > 0. Default: 1, the authors'.
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
        >>> f = bevel.nn.PELU(a=2.0)
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 3.0])).tolist()]
        [-1.2642, 0.0, 6.0]

    Source: Trottier, Giguère, Chaib-draa. 2017, arXiv:1605.09332. Some pages print another formula under this name.
    """

    log_a: nn.Parameter
    log_b: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        a: float = 1.0,
        b: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        initial = {"log_a": math.log(check_positive(a, "a")), "log_b": math.log(check_positive(b, "b"))}
        super().__init__(num_parameters, initial, dim=dim, device=device, dtype=dtype)
        self.given = {"a": a, "b": b}

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        log_a, log_b = parameters
        low = x.clamp(max=0.0)  # the exponential of a large x would be ∞, and 0·∞ NaN in the gradient
        left = torch.exp(log_a) * torch.expm1(low * torch.exp(-log_b))
        return torch.where(x > 0, torch.exp(log_a - log_b) * x, left)


ENTRIES = {
    "pelu": Entry(
        factory=PELU,
        formula="(a/b)·x for x > 0, a·(exp(x/b) − 1) for x ≤ 0",
        summary="parametric ELU (2017), a and b learnt",
        citations=(CITATION,),
        latex=r"\begin{cases} \tfrac{a}{b} x & x > 0 \\ a (e^{x/b} - 1) & x \le 0 \end{cases}",
        use="As the learnable control of ELU: a relative that FReLU's paper names.",
        avoid="Where the outer slope on the left must be learned: it is 0 there.",
    )
}
