"""The gate: x times a distribution function, GELU and SiLU among them, with slopes and sharpness of its own."""

from __future__ import annotations

import torch
from torch import nn

from bevel.functional import frelu_family
from bevel.kernel import Kernel, as_kernel
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder


class Gate(Activation):
    """``x·(negative + (positive − negative)·cdf(n·x))``: GELU with the Gaussian, SiLU with the logistic kernel.

    The logistic kernel at n = 1.702 is quick GELU, ``gelu_tanh`` GELU's approximation by tanh, and the box at n = 1/3
    Hardswish. As n grows every gate hardens to FReLU, within ``|positive − negative|·S/n`` with
    ``S = max v·survival(v)`` (docs/engine.md has each S). Left of 0 it dips below its line, so that it is not monotone.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        positive: slope for x ≫ 0; it may be negative. Default: 1.
        negative: slope for x ≪ 0; it may be negative. Default: 0.
        kernel: approximate identity or its name in ``bevel.KERNELS``; its distribution function opens the gate.
            Default: ``gaussian``.
        n: initial sharpness, finite and > 0. Default: 1.
        learn_n: whether n is a parameter; it is stored as its logarithm, ``log_n``. Default: True.
        learn_slopes: whether the slopes are parameters, ``positive`` and ``negative``. Default: False.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis, slope or sharpness, or a kernel without a first moment: with ``cauchy`` the
            gate would never come near its two lines.
        UnknownName: for a kernel that does not exist.

    Example:
        >>> import torch, bevel
        >>> x = torch.tensor([-1.0, 0.0, 1.0])
        >>> torch.allclose(bevel.nn.Gate()(x), torch.nn.functional.gelu(x))
        True
        >>> torch.allclose(bevel.nn.Gate(kernel="logistic")(x), torch.nn.functional.silu(x))
        True
        >>> bevel.nn.Gate(negative=0.5, kernel="box", n=2.0)(torch.tensor([-4.0, 0.25, 2.0])).tolist()
        [-2.0, 0.21875, 2.0]

    Source: Hendrycks, Gimpel: Gaussian Error Linear Units. 2016, arXiv:1606.08415, for slopes 1 and 0 and the Gaussian;
    λ-GELU (arXiv:2603.21991) learns n. The slopes and the other kernels are bevel's own.
    """

    positive: nn.Parameter
    negative: nn.Parameter
    log_n: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        positive: float = 1.0,
        negative: float = 0.0,
        kernel: str | Kernel = "gaussian",
        n: float = 1.0,
        *,
        learn_n: bool = True,
        learn_slopes: bool = False,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        kernel = as_kernel(kernel)
        self.given = {"positive": positive, "negative": negative, "kernel": kernel.name, "n": n}
        self.given |= {"learn_n": learn_n, "learn_slopes": learn_slopes}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        a = build.add("positive", positive, learn_slopes)
        b = build.add("negative", negative, learn_slopes)
        sharpness = build.add_sharpness(n, learn_n)
        self.family = frelu_family(a, b, kernel, sharpness, log_n=learn_n, multiplies_cdf=True)
        self.family.terms.check(kernel)


ENTRIES = {
    "gate": Entry(
        factory=Gate,
        formula="x·(b + (a−b)·cdf(nx))",
        summary="GELU, SiLU and every other x·cdf(nx), with a learnt sharpness n and two slopes that may be learnt",
        citations=(
            "Hendrycks, Gimpel: Gaussian Error Linear Units (GELUs). 2016, arXiv:1606.08415",
            "Elfwing, Uchibe, Doya: Sigmoid-Weighted Linear Units for Neural Network Function Approximation in "
            "Reinforcement Learning. Neural Networks 107, 3-11 (2018), arXiv:1702.03118",
        ),
        latex=r"x\,\bigl(b + (a - b)\,\mathrm{cdf}(n x)\bigr)",
        use="In the place of GELU or SiLU (`bevel.swap` finds which) where the sharpness is to be learned, or is to "
        "grow until `bevel.harden` may put ReLU there.",
        avoid="Where the function must be monotone: left of 0 it dips below its line (`smooth_frelu` does not).",
    )
}
