"""SmoothFReLU unites both papers: FReLU convolved with an approximate identity of learnable sharpness."""

from __future__ import annotations

import torch
from torch import nn

from bevel.functional import frelu_family
from bevel.kernel import Kernel, as_kernel
from bevel.nn import frelu as _frelu
from bevel.nn import sau as _sau
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder


class SmoothFReLU(Activation):
    """``(positive·x for x > 0, negative·x otherwise) * phi_n``, with slopes and sharpness learnt.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        positive: initial slope for x ≫ 0. Default: 1.
        negative: initial slope for x ≪ 0. Default: 0.01.
        kernel: approximate identity or its name in ``bevel.KERNELS``. Default: ``gaussian``.
        n: initial sharpness, finite and > 0. Default: 5.
        learn_n: whether n is a parameter; it is stored as its logarithm, ``log_n``. Default: True.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis, slope or sharpness, or a kernel without a first moment.
        UnknownName: for a kernel that does not exist.

    Example:
        >>> import torch, bevel
        >>> f = bevel.SmoothFReLU(negative=0.5, kernel="box", n=2.0)
        >>> f(torch.tensor([-4.0, 0.0, 2.0])).tolist()  # beyond 1/n it is FReLU exactly; at 0 the gap is 0.5·0.25/2
        [-2.0, 0.0625, 2.0]
        >>> sorted(name for name, _ in f.named_parameters())
        ['log_n', 'negative', 'positive']

    Source: bevel's own; it unites SAU (ECCV 2022) and FReLU (SIViP 2021).
    """

    positive: nn.Parameter
    negative: nn.Parameter
    log_n: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 1.0,
        negative: float = 0.01,
        kernel: str | Kernel = "gaussian",
        n: float = 5.0,
        *,
        learn_n: bool = True,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        kernel = as_kernel(kernel)
        self.given = {"positive": positive, "negative": negative, "kernel": kernel.name, "n": n, "learn_n": learn_n}
        build = ParameterBuilder(self, device=device, dtype=dtype)
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
        latex=r"\left(\begin{cases} a x & x > 0 \\ b x & x \le 0 \end{cases}\right) * \varphi_n",
        use="A smooth unit with two learned slopes and a learned sharpness: networks that need second derivatives, "
        "and all that FReLU is for.",
        avoid="With weight decay on its parameters; where nothing but the slope below zero is to be learned (SAU, "
        "PReLU).",
    )
}
