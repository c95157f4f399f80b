"""xIPReLU: a parabola on each side and a common slope at 0."""

from __future__ import annotations

import torch
from torch import nn

from bevel.family import Family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Terms

CITATION = "Huang, Schlag: Deriving Activation Functions Using Integration. 2024, arXiv:2411.13010"


class XIPReLU(Activation):
    """``positive·x² + beta·x`` for x > 0, ``negative·x² + beta·x`` otherwise: the integral of a PReLU's relative.

    Keeps its input for backward. The second derivative is exact (one-sided at 0). In eager calls on the CPU it is one
    native pass each way; ``torch.compile`` and export get torch operations. In float16 it overflows from about 285 on.

    Args:
        num_parameters: 1 (shared, as the authors have it) or the channel count. Default: 1.
        positive: initial factor of x² for x > 0. Default: 0.8, the authors'.
        negative: initial factor of x² for x ≤ 0. Default: 0.8, the authors'. They keep both > 0 by a softplus; here the
            factors themselves are learnt and may change their sign.
        beta: slope at 0. Default: 0.5, the authors'.
        learn_beta: whether beta is learnt; the authors' is fixed. Default: False.
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
        >>> bevel.nn.XIPReLU(positive=1.0, negative=0.25)(torch.tensor([-2.0, 0.0, 3.0])).tolist()
        [0.0, 0.0, 10.5]

    Source: Huang, Schlag: Deriving Activation Functions Using Integration. 2024, arXiv:2411.13010; the formula is that
    of the authors' published code.
    """

    positive: nn.Parameter
    negative: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 0.8,
        negative: float = 0.8,
        beta: float = 0.5,
        *,
        learn_beta: bool = False,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.given = {"positive": positive, "negative": negative, "beta": beta}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        right, left = 2 * build.add("positive", positive), 2 * build.add("negative", negative)
        slope = build.add("beta", beta, learn_beta)
        terms = Terms(slope, 0.0, (0.0,), (0.0,), (0.0,), (0.0,), (0.0,), curve=(left, right - left))
        self.family = Family(terms, SHARP, 1.0)


ENTRIES = {
    "xiprelu": Entry(
        factory=XIPReLU,
        formula="a·x² + β·x for x > 0, b·x² + β·x for x ≤ 0",
        summary="xIPReLU (2024): a learnt parabola on each side, slope β at 0",
        citations=(CITATION,),
        latex=r"\begin{cases} a x^2 + \beta x & x > 0 \\ b x^2 + \beta x & x \le 0 \end{cases}",
        use="In the feed-forward blocks of language models: its slope grows on both sides, as fast as it learns to.",
        avoid="In half precision with large inputs; where the function must be monotone.",
    )
}
