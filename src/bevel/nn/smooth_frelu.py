"""SmoothFReLU unites both papers: FReLU convolved with an approximate identity of learnable sharpness."""

from __future__ import annotations

from torch import nn

from bevel.functional import frelu_family
from bevel.kernel import Kernel, as_kernel
from bevel.nn import frelu as _frelu
from bevel.nn import sau as _sau
from bevel.nn._base import Activation, Entry, ParameterBuilder


class SmoothFReLU(Activation):
    """``(positive·x for x > 0, negative·x otherwise) * phi_n``, with slopes and sharpness learnt.

    Args:
        num_parameters: 1 (shared) or the channel count.
        positive, negative: initial slopes.
        kernel: approximate identity or its name.
        n: initial sharpness, finite and > 0.
        learn_n: whether n is a parameter, stored as ``log_n``.
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
        kernel: str | Kernel = "gaussian",
        n: float = 5.0,
        learn_n: bool = True,
        dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__(num_parameters, dim)
        kernel = as_kernel(kernel)
        self.given = {"positive": positive, "negative": negative, "kernel": kernel.name, "n": n, "learn_n": learn_n}
        build = ParameterBuilder(self)
        a = build.add("positive", positive)
        b = build.add("negative", negative)
        sharpness = build.add_sharpness(n, learn_n)
        self.family = frelu_family(a, b, kernel, sharpness, log_n=learn_n)
        self.family.terms.check(self.family.kernel)


ENTRIES = {
    "smooth_frelu": Entry(
        factory=SmoothFReLU,
        formula="(a·x for x > 0, b·x for x ≤ 0) * φₙ",
        summary="bevel's union of both papers: FReLU smoothed, slopes and sharpness learnt per channel",
        citations=(_sau.CITATION, _frelu.CITATION),
    )
}
