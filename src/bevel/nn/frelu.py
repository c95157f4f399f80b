"""Fully parametric ReLU."""

from __future__ import annotations

import torch
from torch import nn

from bevel.functional import frelu_family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder

CITATION = (
    "Varshney, Singh: Optimizing nonlinear activation function for convolutional neural networks. "
    "Signal, Image and Video Processing 15, 1323-1330 (2021), doi:10.1007/s11760-021-01863-z"
)


class FReLU(Activation):
    """``positive·x`` for x > 0, ``negative·x`` otherwise, both slopes learnt; elsewhere called DPReLU.

    Funnel ReLU (Ma et al. 2020) and Flexible ReLU (Qiu et al. 2018) are other functions that share the abbreviation.

    Args:
        num_parameters: the channel count for the paper's one pair per channel; 1 shares one pair. Default: 1.
        positive: initial slope for x > 0; the paper's is not public. Default: 1.
        negative: initial slope for x ≤ 0; the paper's is not public. Default: 0.01.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis or slope.

    Example:
        >>> import torch, bevel
        >>> f = bevel.FReLU(3, negative=0.25)  # one pair of slopes per channel
        >>> f(torch.tensor([[-4.0, 0.0, 2.0]])).tolist()
        [[-1.0, 0.0, 2.0]]

    Source: Varshney, Singh: Optimizing nonlinear activation function for convolutional neural networks. SIViP 2021,
    doi:10.1007/s11760-021-01863-z.
    """

    positive: nn.Parameter
    negative: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 1.0,
        negative: float = 0.01,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.given = {"positive": positive, "negative": negative}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        a = build.add("positive", positive)
        b = build.add("negative", negative)
        self.family = frelu_family(a, b, SHARP, 1.0)


ENTRIES = {
    "frelu": Entry(
        factory=FReLU,
        formula="a·x for x > 0, b·x for x ≤ 0",
        summary="fully parametric ReLU (SIViP 2021): a learnt slope on each side, per channel",
        citations=(CITATION,),
        latex=r"\begin{cases} a x & x > 0 \\ b x & x \le 0 \end{cases}",
        use="Learned slopes on both sides, one pair per channel: `bevel.fold` multiplies the positive one into the "
        "layer before, and what ships costs what PReLU costs.",
        avoid="When you mean Funnel or Flexible ReLU, which are other functions; where the curve must be smooth; "
        "with weight decay on its slopes (`bevel.parameter_groups` sets them apart).",
    )
}
