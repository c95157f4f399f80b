"""The Cauchy density: it smooths pure steps, and is refused for anything with a ramp."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel.kernel import Kernel


class Cauchy(Kernel):
    name = "cauchy"
    formula = "1 / (π(1+u²))"
    latex = r"\frac{1}{\pi (1 + u^2)}"
    use = "Pure steps with heavy tails."
    avoid = "For anything with a change of slope: it has no first moment, and the convolution would be infinite."
    native = 11
    variance = math.inf
    has_moment = False

    def density(self, v: Tensor) -> Tensor:
        return 1 / (math.pi * (1 + v * v))

    def survival(self, v: Tensor) -> Tensor:
        return torch.atan2(v.new_ones(()), v) / math.pi

    def excess(self, v: Tensor) -> Tensor:
        raise InvalidValue(
            "a ramp needs a kernel with a finite first moment; the Cauchy density has none, so its convolution with a "
            "ramp is infinite. Use 'student' for heavy tails, or keep 'cauchy' for pure steps."
        )

    triton = """
    far = v > 1
    r = tl.where(far, 1 / v, v)
    turn = r * atan(centred(r * r)) * 0.3183098861837907
    survival = tl.where(far, turn, 0.5 - turn)
    flat = reciprocal(v * v + 1)
    density = 0.3183098861837907 * flat
    turn = -2 * (v * flat) * density
    """


ENTRIES = {"cauchy": Cauchy()}
