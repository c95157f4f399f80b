"""The Gaussian: the approximate identity of the SAU paper (Biswas et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.kernels._second import SECOND
from bevel.portable import exporting, horner

_A = 5.0  # a of its second tail integral's variable t = (v - a)/(v + a)


class Gaussian(Kernel):
    name = "gaussian"
    formula = "exp(-u²/2) / √(2π)"
    latex = r"\frac{1}{\sqrt{2\pi}}\,e^{-u^2/2}"
    use = "SAU's kernel: smooth to every order, with tails that vanish fast."
    avoid = "Where the ends must be exact: its support is the whole line. erfc costs more than a polynomial."
    native = 1
    variance = 1.0
    reach = 39.0  # exp(-39²/2) is zero in float64
    relu_name = "SAU's function"
    relu_rows = ("sau", "smooth_frelu")

    def density(self, v: Tensor) -> Tensor:
        return torch.exp(-0.5 * v * v) * (1 / math.sqrt(2 * math.pi))

    def survival(self, v: Tensor) -> Tensor:
        return 0.5 * torch.erfc(v * math.sqrt(0.5))

    def excess(self, v: Tensor) -> Tensor:
        if exporting():  # no erfcx in ONNX
            return self.density(v) - v * self.survival(v)
        # φ(v) - v·Q(v) with Q(v) = φ(v)·√(π/2)·erfcx(v/√2): the bracket is of order 1/v², so only φ underflows.
        ratio: Tensor = torch.special.erfcx(v * math.sqrt(0.5))
        return self.density(v) * (1 - v * math.sqrt(math.pi / 2) * ratio)

    def moment(self, v: Tensor) -> Tensor:
        return self.density(v)

    def second(self, v: Tensor) -> Tensor:
        if exporting():  # few operators; the difference loses what float32 graphs do not show
            return 0.5 * ((1 + v * v) * self.survival(v) - v * self.density(v))
        # The closed form is a difference of order v that leaves 2/v³; the polynomial is of that order itself.
        q = _A / (v + _A)
        return torch.exp(-0.5 * v * v) * q**3 * horner(SECOND["gaussian"], 1 - 2 * q)

    triton = """
    e = exp_minus_half_square(v, rest)
    q = MILLS * reciprocal(v + MILLS)
    t = 1 - 2 * q
    density = e * 0.3989422804014327
    survival = e * q * gauss_survival(t)
    excess = e * q * q * gauss_excess(t)
    second = e * q * q * q * gauss_second(t)
    moment = density
    turn = -v * density
    """


ENTRIES = {"gaussian": Gaussian()}
