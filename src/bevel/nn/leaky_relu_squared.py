"""Squared Leaky ReLU with a learnt slope."""

from __future__ import annotations

import torch
from torch import nn

from bevel.family import Family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Terms


class LeakyReLUSquared(Activation):
    """``x²`` for x > 0, ``(negative·x)²`` otherwise, the slope learnt: the square of a Leaky ReLU.

    Keeps its input for backward. The second derivative is exact (one-sided at 0). In eager calls on the CPU it is one
    native pass each way; ``torch.compile`` and export get torch operations. In float16 it overflows from about 256 on.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        negative: initial slope of the Leaky ReLU that is squared. Default: 0.5.
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
        >>> bevel.nn.LeakyReLUSquared(negative=0.5)(torch.tensor([-2.0, 0.0, 3.0])).tolist()
        [1.0, 0.0, 9.0]

    Source: no paper. Submissions to the parameter-golf contest of 2026 square a Leaky ReLU whose slope, from 0.3 to
    0.9, they choose by hand; others multiply by the slope and do not square it, which is another function.
    """

    negative: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        negative: float = 0.5,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.given = {"negative": negative}
        a = ParameterBuilder(self, device=device, dtype=dtype).add("negative", negative)
        left = 2 * a * a
        self.family = Family(
            Terms(0.0, 0.0, (0.0,), (0.0,), (0.0,), (0.0,), (0.0,), curve=(left, 2 - left)), SHARP, 1.0
        )


ENTRIES = {
    "leaky_relu_squared": Entry(
        factory=LeakyReLUSquared,
        formula="x² for x > 0, (a·x)² for x ≤ 0",
        summary="squared Leaky ReLU, its slope learnt; no paper, from language models of 2026",
        latex=r"\begin{cases} x^2 & x > 0 \\ (a x)^2 & x \le 0 \end{cases}",
        use="As squared ReLU, where units should not die: it has a gradient on both sides.",
        avoid="Where the sign must be kept: it is positive on both sides. From slope 0 it does not learn.",
    )
}
