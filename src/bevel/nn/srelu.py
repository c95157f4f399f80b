"""SReLU: three lines, whose outer slopes and two knots are learnt."""

from __future__ import annotations

import torch
from torch import nn

from bevel.errors import InvalidValue
from bevel.family import Family
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Terms, as_number

CITATION = (
    "Jin, Xu, Feng, Wei, Xiong, Yan: Deep Learning with S-shaped Rectified Linear Activation Units. AAAI 2016, "
    "arXiv:1512.07030"
)


class SReLU(Activation):
    """``t_r + a_r·(x − t_r)`` for x > t_r, ``t_l + a_l·(x − t_l)`` for x ≤ t_l, x between; all four learnt.

    It is kinked: ``x + (1 − a_l)·max(t_l − x, 0) + (a_r − 1)·max(x − t_r, 0)``, which holds also where learnt knots
    cross or meet. Its level on the left is a product of parameters: the native pass computes it on the CPU, backend
    ``analytic`` on a GPU. It keeps its input for backward.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        left: initial slope a_l. Default: 0.2.
        right: initial slope a_r. Default: 1.
        low: initial knot t_l. Default: 0.
        high: initial knot t_r, above ``low``. Default: 1. The authors start as a Leaky ReLU and choose t_r from the
            data after some epochs; which slope and knots they start from is doubtful, and these are bevel's choice.
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
        >>> bevel.nn.SReLU(left=0.5, right=0.25)(torch.tensor([-2.0, 0.5, 3.0])).tolist()
        [-1.0, 0.5, 1.5]

    Source: Jin et al.: S-shaped Rectified Linear Activation Units. AAAI 2016, arXiv:1512.07030.
    """

    left: nn.Parameter
    right: nn.Parameter
    low: nn.Parameter
    high: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        left: float = 0.2,
        right: float = 1.0,
        low: float = 0.0,
        high: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        if as_number(low, "low") >= as_number(high, "high"):
            raise InvalidValue(f"low must be below high; got {low!r} and {high!r}.")
        self.given = {"left": left, "right": right, "low": low, "high": high}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        a, b, s, t = (build.add(name, value) for name, value in self._given_numbers())
        none = (0.0, 0.0)
        self.family = Family(Terms(a, s - a * s, (s, t), (1 - a, b - 1), none, none, none), SHARP, 1.0)

    def _given_numbers(self) -> list[tuple[str, float]]:
        return [(name, as_number(value, name)) for name, value in self.given.items()]


ENTRIES = {
    "srelu": Entry(
        factory=SReLU,
        formula="t_r + a_r·(x − t_r) for x > t_r, t_l + a_l·(x − t_l) for x ≤ t_l, x between",
        summary="S-shaped ReLU (AAAI 2016): two learnt knots and the slopes beyond them",
        citations=(CITATION,),
        latex=r"\begin{cases} t_r + a_r (x - t_r) & x > t_r \\ x & t_l < x \le t_r \\ t_l + a_l (x - t_l) & x \le t_l "
        r"\end{cases}",
        use="As a control with more freedom than FReLU: it can saturate, and amplify, on either side.",
        avoid="Where a unit must cost what ReLU costs: four parameters a channel, and the input is kept.",
    )
}
