"""Smoothed ReLUs with established names: Squareplus (student kernel) and SmeLU (box kernel)."""

from __future__ import annotations

import math

import torch

from bevel._checks import check_positive
from bevel.family import Family, constant_of
from bevel.functional import frelu_family
from bevel.kernel import KERNELS
from bevel.nn._base import Activation, Device, Entry
from bevel.terms import as_one_sharpness


def _relu_family(kernel: str, n: float) -> Family:
    return frelu_family(1.0, 0.0, KERNELS[kernel], as_one_sharpness(n))


class Squareplus(Activation):
    """``(x + √(x² + b))/2``: ReLU * student at width √b.

    Args:
        b: squared width, finite and > 0. Default: 4.
        inplace: accepted and ignored. Default: False.
        device: of the buffer ``n``, which holds the sharpness. Default: torch's default device.
        dtype: accepted and ignored, as there are no parameters.

    Shape:
        input: any; float64, float32, bfloat16 or float16. The output has the input's shape and dtype.

    Raises:
        InvalidValue: if ``b`` is not finite and > 0.

    Example:
        >>> import torch, bevel
        >>> bevel.nn.Squareplus(b=4.0)(torch.tensor([0.0, 1.5])).tolist()
        [1.0, 2.0]

    Source: Barron: Squareplus: A Softplus-Like Algebraic Rectifier. 2021, arXiv:2112.11687.
    """

    def __init__(
        self, b: float = 4.0, *, inplace: bool = False, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(1)
        self._place = device
        self.family = _relu_family("student", 1 / math.sqrt(check_positive(b, "b")))

    @property
    def b(self) -> float:
        """The squared width, from the present sharpness."""
        return float(1 / constant_of(self.family.n) ** 2)

    def extra_repr(self) -> str:
        return f"b={self.b:g}"


class SmeLU(Activation):
    """0 below −β, ``(x+β)²/(4β)`` on [−β, β], x above: ReLU * box at width β.

    Args:
        beta: width, finite and > 0. Default: 2.
        inplace: accepted and ignored. Default: False.
        device: of the buffer ``n``, which holds the sharpness. Default: torch's default device.
        dtype: accepted and ignored, as there are no parameters.

    Shape:
        input: any; float64, float32, bfloat16 or float16. The output has the input's shape and dtype.

    Raises:
        InvalidValue: if ``beta`` is not finite and > 0.

    Example:
        >>> import torch, bevel
        >>> bevel.nn.SmeLU(beta=2.0)(torch.tensor([-2.0, 0.0, 2.0])).tolist()
        [0.0, 0.5, 2.0]

    Source: Shamir, Lin: Real World Large Scale Recommendation Systems Reproducibility and Smooth Activations. 2022,
    arXiv:2202.06499.
    """

    def __init__(
        self, beta: float = 2.0, *, inplace: bool = False, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(1)
        self._place = device
        self.family = _relu_family("box", 1 / check_positive(beta, "beta"))

    @property
    def beta(self) -> float:
        """The width, from the present sharpness."""
        return 1 / constant_of(self.family.n)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


ENTRIES = {
    "squareplus": Entry(
        factory=Squareplus,
        formula="(x + √(x² + b))/2",
        summary="Squareplus: ReLU * student",
        citations=("Barron: Squareplus: A Softplus-Like Algebraic Rectifier. 2021, arXiv:2112.11687",),
        latex=r"\tfrac12\left(x + \sqrt{x^2 + b}\right)",
        use="In the place of Softplus where exp and log are slow.",
        avoid="Where zeros must be zero: it falls as b/(4|x|) and never vanishes.",
    ),
    "smelu": Entry(
        factory=SmeLU,
        formula="0 | (x+β)²/(4β) on [−β, β] | x",
        summary="SmeLU: ReLU * box",
        citations=(
            "Shamir, Lin: Real World Large Scale Recommendation Systems Reproducibility and Smooth Activations. "
            "2022, arXiv:2202.06499",
        ),
        latex=r"\begin{cases} 0 & x \le -\beta \\ \dfrac{(x + \beta)^2}{4\beta} & |x| < \beta \\ x & x \ge \beta "
        r"\end{cases}",
        use="A smooth ReLU that is exactly ReLU outside [-β, β] and needs no more than a multiplication; "
        "recommended for reproducible training.",
        avoid="Where a continuous second derivative is needed: it jumps at ±β.",
    ),
}
