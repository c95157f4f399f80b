"""xIELU: a parabola on the right, the integral of an ELU on the left."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel._checks import check_positive
from bevel.nn._base import Device, Entry, FormulaActivation
from bevel.nn.xiprelu import CITATION


class XIELU(FormulaActivation):
    """``α_p·x² + β·x`` for x > 0, ``α_n·(eˣ − 1 − x) + β·x`` otherwise, with α_p = softplus(p), α_n = β + softplus(q).

    p and q are learnt, so that α_p > 0 and α_n > β: left of 0 the function falls and rises again. It keeps its input
    for backward and evaluates the formula again there; second derivatives, ``torch.compile`` and ONNX take the formula.

    Args:
        num_parameters: 1 (shared, as the authors have it) or the channel count. Default: 1.
        positive: initial α_p, > 0. Default: 0.8, the authors'.
        negative: initial α_n, > beta. Default: 0.8, the authors'.
        beta: slope at 0, a fixed number. Default: 0.5, the authors'.
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
        >>> f = bevel.nn.XIELU()
        >>> [round(y, 4) for y in f(torch.tensor([-2.0, 0.0, 1.0])).tolist()]
        [-0.0917, 0.0, 1.3]

    Source: Huang, Schlag: Deriving Activation Functions Using Integration. 2024, arXiv:2411.13010. The authors' code
    has min(x, -1e-6) in the place of x in the exponential; this one has min(x, 0), and so is 0 at 0.
    """

    positive: nn.Parameter
    negative: nn.Parameter
    beta: float

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 0.8,
        negative: float = 0.8,
        beta: float = 0.5,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        initial = {
            "positive": _softplus_inverse(positive, "positive"),
            "negative": _softplus_inverse(negative - beta, "negative - beta"),
        }
        super().__init__(num_parameters, initial, dim=dim, device=device, dtype=dtype)
        self.given = {"positive": positive, "negative": negative, "beta": beta}
        self.beta = beta

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[override]  # it needs beta
        p, q = parameters
        right = F.softplus(p) * x * x
        low = x.clamp(max=0.0)
        left = (self.beta + F.softplus(q)) * (torch.expm1(low) - low)
        return torch.where(x > 0, right, left) + self.beta * x


def _softplus_inverse(value: float, name: str) -> float:
    value = check_positive(value, name)
    return value + math.log(-math.expm1(-value))


ENTRIES = {
    "xielu": Entry(
        factory=XIELU,
        formula="α_p·x² + β·x for x > 0, α_n·(eˣ − 1 − x) + β·x for x ≤ 0",
        summary="xIELU (2024): the integral of an ELU, both factors learnt; Apertus is trained with it",
        citations=(CITATION,),
        latex=r"\begin{cases} \alpha_p x^2 + \beta x & x > 0 \\ \alpha_n (e^x - 1 - x) + \beta x & x \le 0 \end{cases}",
        use="In the feed-forward blocks of language models, in the place of squared ReLU.",
        avoid="In half precision with large inputs: it grows as x². For inference in INT8.",
    )
}
