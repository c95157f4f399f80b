"""The bump: the C^∞ mollifier with compact support of the textbooks.

It has no closed integrals. With ``z = 1 - v`` its exponent is ``1/(1 - v²) = 1/(2z) + 1/(2(2 - z))``; what is steep is
the first half alone. The forms are ``exp(-1/(2z))`` times polynomials (``native/tools/bump.py``), so that they keep
their digits up to the edge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.kernels._polynomials import BUMP
from bevel.kernels._second import BUMP_VARIANCE, SECOND
from bevel.portable import horner

_LEAST = 6e-4  # smallest z: exp(-1/(2z)) is zero there in float64 too, and its derivatives are 0 and not 0·∞
_A = 0.25  # a of the polynomials' variable t = (z - a)/(z + a)


class Bump(Kernel):
    name = "bump"
    formula = "C·exp(-1/(1-u²)) on (-1, 1)"
    latex = r"C\,e^{-1/(1 - u^2)} \quad (|u| < 1)"
    use = "The mollifier of the textbooks: smooth to every order, and exact outside the width."
    avoid = "Where high derivatives must stay small: near the edges they are large. It has no closed integrals."
    native = 12
    variance = BUMP_VARIANCE
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        z = (1 - v).clamp(min=_LEAST)
        return torch.exp(-0.5 / z) * horner(BUMP["bump_density"], 2 * z - 1)

    def survival(self, v: Tensor) -> Tensor:
        z = (1 - v).clamp(min=_LEAST)
        return torch.exp(-0.5 / z) * z * z * (z + _A) * horner(BUMP["bump_survival"], (z - _A) / (z + _A))

    def excess(self, v: Tensor) -> Tensor:
        z = (1 - v).clamp(min=_LEAST)
        return torch.exp(-0.5 / z) * z**4 * horner(BUMP["bump_excess"], (z - _A) / (z + _A))

    def second(self, v: Tensor) -> Tensor:
        z = (1 - v).clamp(min=_LEAST)
        return torch.exp(-0.5 / z) * z**6 * horner(SECOND["bump"], (z - _A) / (z + _A))

    triton = """
    far = 1 - v
    inner = far - rest
    z = tl.where(inner < 6e-4, 6e-4, inner)
    plus = z + 0.25
    r = reciprocal(z * plus)
    t = 1 - 0.5 * (z * r)
    h = 0.5 * (plus * r)
    both = 2 * z
    lost = h * ((1 - h * both) - product_error(h, both)) - 2 * ((far - z) - rest) * (h * h)
    e = exp_minus(h, lost)
    near = e * (z * z)
    density = e * bump_density(centred(z))
    survival = near * (plus * bump_survival(t))
    excess = near * ((z * z) * bump_excess(t))
    second = near * ((z * z) * (z * z) * bump_second(t))
    flat = reciprocal(z * (2 - z))
    turn = -2 * v * flat * flat * density
    """


ENTRIES = {"bump": Bump()}
