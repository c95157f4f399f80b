"""APL: a ReLU and a sum of learnt hinges."""

from __future__ import annotations

import torch

from bevel._checks import check_integer
from bevel.family import Affine, Family, Slot
from bevel.kernel import SHARP
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder
from bevel.terms import Terms, as_number

CITATION = (
    "Agostinelli, Hoffman, Sadowski, Baldi: Learning Activation Functions to Improve Deep Neural Networks. ICLR 2015 "
    "workshop, arXiv:1412.6830"
)


class APL(Activation):
    """``max(0, x) + Σₛ aₛ·max(0, bₛ − x)``, s = 1 … S: heights aₛ and hinges bₛ are learnt.

    It is a kinked function whose knots are the hinges and 0, also where learnt ones cross or meet. Its level on the
    left has products of parameters. On the CPU the native pass computes it, up to seven hinges; more of them, and
    tensors on a GPU, take backend ``analytic``. It keeps its input for backward.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        hinges: S, at least 1. Default: 5, the authors' for CIFAR-10 as reported.
        height: initial value of every aₛ. Default: 0, so that it starts as ReLU. The authors draw small numbers, how
            small is doubtful, and put a decay of 0.001 on them.
        spread: hinges start evenly from −spread to spread, without the last place where their number is odd, so that
            none is at 0. Default: 1, bevel's choice.
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
        >>> f = bevel.nn.APL(hinges=1, height=0.5)  # max(0, x) + 0.5·max(0, −1 − x)
        >>> f(torch.tensor([-3.0, 0.0, 3.0])).tolist()
        [1.0, 0.0, 3.0]

    Source: Agostinelli et al.: Learning Activation Functions to Improve Deep Neural Networks. 2014, arXiv:1412.6830.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        hinges: int = 5,
        height: float = 0.0,
        spread: float = 1.0,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        count, reach = check_integer(hinges, "hinges", 1), as_number(spread, "spread")
        self.given = {"hinges": hinges, "height": height, "spread": spread}
        places = [reach * (2 * i / (count - 1 + count % 2) - 1) for i in range(count)]
        build = ParameterBuilder(self, device=device, dtype=dtype)
        heights = [build.add(f"height_{i}", height) for i in range(count)]
        knots = [build.add(f"hinge_{i}", place) for i, place in enumerate(places)]
        slope: Slot = Affine(0.0, ())
        level: Slot = Affine(0.0, ())
        for a, b in zip(heights, knots, strict=True):
            slope, level = slope - a, level + a * b
        left = sum(place < 0 for place in places)  # knots stand in order
        none = (0.0,) * (count + 1)
        knots[left:left], heights[left:left] = [0.0], [1.0]
        self.family = Family(Terms(slope, level, tuple(knots), tuple(heights), none, none, none), SHARP, 1.0)


ENTRIES = {
    "apl": Entry(
        factory=APL,
        formula="max(0, x) + Σ aₛ·max(0, bₛ − x)",
        summary="adaptive piecewise linear unit (2014): heights and places of its hinges learnt",
        citations=(CITATION,),
        latex=r"\max(0, x) + \sum_{s=1}^{S} a_s \max(0, b_s - x)",
        use="As the control that can learn any kinked function whose far right is x.",
        avoid="With many hinges a channel where memory or time matter: each is two parameters, and costs time.",
    )
}
