"""StarReLU: squared ReLU with a learnt scale and offset."""

from __future__ import annotations

import torch
from torch import nn

from bevel.family import Family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Terms

CITATION = (
    "Yu, Si, Zhou, Luo, Zhou, Feng, Yan, Wang: MetaFormer Baselines for Vision. IEEE Transactions on Pattern Analysis "
    "and Machine Intelligence 2024, arXiv:2210.13452"
)


class StarReLU(Activation):
    """``scale·max(x, 0)² + offset``, both learnt.

    Keeps its input for backward. The second derivative is exact (one-sided at 0). In eager calls on the CPU it is one
    native pass each way; ``torch.compile`` and export get torch operations. In float16 it overflows from about 270 on.

    Args:
        num_parameters: 1 (shared, as the authors have it) or the channel count. Default: 1.
        scale: initial factor. Default: 0.8944, the authors': 2/√5, which gives unit variance for normal inputs.
        offset: initial offset. Default: -0.4472, the authors': -1/√5, which gives mean 0.
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
        >>> bevel.nn.StarReLU(scale=0.5, offset=-0.25)(torch.tensor([-2.0, 0.0, 3.0])).tolist()
        [-0.25, -0.25, 4.25]

    Source: Yu et al.: MetaFormer Baselines for Vision. TPAMI 2024, arXiv:2210.13452.
    """

    scale: nn.Parameter
    offset: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        scale: float = 0.8944,
        offset: float = -0.4472,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.given = {"scale": scale, "offset": offset}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        bend, level = 2 * build.add("scale", scale), build.add("offset", offset)
        self.family = Family(Terms(0.0, level, (0.0,), (0.0,), (0.0,), (0.0,), (0.0,), curve=(0.0, bend)), SHARP, 1.0)


ENTRIES = {
    "star_relu": Entry(
        factory=StarReLU,
        formula="s·max(x, 0)² + b",
        summary="StarReLU (MetaFormer baselines, 2022): squared ReLU with a learnt scale and offset",
        citations=(CITATION,),
        latex=r"s \max(x, 0)^2 + b",
        use="As squared ReLU, kept at mean 0 and variance 1 for normal inputs; the authors' choice for vision.",
        avoid="Where zeros must be zero: left of 0 it is b.",
    )
}
