"""Squared ReLU."""

from __future__ import annotations

import torch

from bevel.family import Family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry
from bevel.terms import Terms

CITATION = (
    "So, Mańke, Liu, Dai, Shazeer, Le: Primer: Searching for Efficient Transformers for Language Modeling. "
    "NeurIPS 2021, arXiv:2109.08668"
)


class ReLUSquared(Activation):
    """``max(x, 0)²``.

    Keeps its input for backward. The second derivative is exact (one-sided at 0). In eager calls on the CPU it is one
    native pass each way; ``torch.compile`` and export get torch operations. In float16 it overflows from about 256 on.

    Args:
        inplace: accepted and ignored. Default: False.
        device, dtype: accepted and ignored, as there are no parameters.

    Shape:
        input: any; float64, float32, bfloat16 or float16. The output has the input's shape and dtype.

    Example:
        >>> import torch, bevel
        >>> bevel.nn.ReLUSquared()(torch.tensor([-2.0, 0.5, 3.0])).tolist()
        [0.0, 0.25, 9.0]

    Source: So et al.: Primer. NeurIPS 2021, arXiv:2109.08668.
    """

    def __init__(self, *, inplace: bool = False, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__(1)
        self.family = Family(Terms(0.0, 0.0, (0.0,), (0.0,), (0.0,), (0.0,), (0.0,), curve=(0.0, 2.0)), SHARP, 1.0)


ENTRIES = {
    "relu_squared": Entry(
        factory=ReLUSquared,
        formula="max(x, 0)²",
        summary="squared ReLU (Primer, 2021), without parameters",
        citations=(CITATION,),
        latex=r"\max(x, 0)^2",
        use="In the feed-forward blocks of language models, where it leaves many zeros. Smoothed it is "
        "`mollified:f=relu_squared`.",
        avoid="In float16 beyond 256, where it overflows; where slopes must stay bounded.",
    )
}
