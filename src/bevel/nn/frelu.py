"""Fully parametric ReLU."""

from __future__ import annotations

from torch import nn

from bevel.functional import frelu_family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Entry, ParameterBuilder

CITATION = (
    "Varshney, Singh: Optimizing nonlinear activation function for convolutional neural networks. "
    "Signal, Image and Video Processing 15, 1323-1330 (2021), doi:10.1007/s11760-021-01863-z"
)


class FReLU(Activation):
    """``positive·x`` for x > 0, ``negative·x`` otherwise, both slopes learnt; elsewhere called DPReLU.

    Funnel ReLU (Ma et al. 2020) and Flexible ReLU (Qiu et al. 2018) are other functions that share the abbreviation.

    Args:
        num_parameters: the channel count for the paper's one pair a channel; 1 shares one pair.
        positive, negative: initial slopes (the paper's are not public).
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.

    Shape: any; the output has the input's shape and dtype.
    """

    positive: nn.Parameter
    negative: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 1.0,
        negative: float = 0.01,
        dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__(num_parameters, dim)
        self.given = {"positive": positive, "negative": negative}
        build = ParameterBuilder(self)
        a = build.add("positive", positive)
        b = build.add("negative", negative)
        self.family = frelu_family(a, b, SHARP, 1.0)


ENTRIES = {
    "frelu": Entry(
        factory=FReLU,
        formula="a·x for x > 0, b·x for x ≤ 0",
        summary="fully parametric ReLU (SIViP 2021): a learnt slope on each side, per channel",
        citations=(CITATION,),
    )
}
