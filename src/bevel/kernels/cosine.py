"""The raised cosine: compact, with a closed form whose ends need care."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevel.kernel import Kernel

_PI2 = math.pi**2
_NEAR_SECOND = 0.75  # the same for the second tail integral, which is of order z⁵
_NEAR = 0.5  # below z = 1 - v = 0.5 the closed forms cancel (excess is of order z⁴); the series is good to 2e-17


def _series(z: Tensor, order: int) -> Tensor:
    """``1 - y/((m+1)(m+2))·(1 - y/((m+3)(m+4))·(…))`` with ``y = (πz)²`` and ``m = order``, nine terms.

    It is the Taylor series of ``y - sin y`` (order 3), ``cos y - 1 + y²/2`` (order 4) or ``sin y - y + y³/6`` (order 5)
    over its leading term.
    """
    y = _PI2 * z * z
    total = torch.ones_like(z)
    for k in range(9, 0, -1):
        total = 1 - y / ((order + 2 * k - 1) * (order + 2 * k)) * total
    return total


class Cosine(Kernel):
    name = "cosine"
    formula = "½(1 + cos πu) on (-1, 1)"
    latex = r"\tfrac12 (1 + \cos \pi u) \quad (|u| < 1)"
    use = "A continuous third derivative and exact ends, by a cosine."
    avoid = "Where `biweight` will do, which is much the same without a trigonometric function."
    native = 10
    variance = 1 / 3 - 2 / _PI2
    reach = 1.0
    compact = True

    def density(self, v: Tensor) -> Tensor:
        return torch.sin((1 - v) * (math.pi / 2)) ** 2

    def survival(self, v: Tensor) -> Tensor:
        z = 1 - v
        far = z / 2 - torch.sin(math.pi * z) / (2 * math.pi)
        return torch.where(z < _NEAR, _PI2 / 12 * z**3 * _series(z, 3), far)

    def excess(self, v: Tensor) -> Tensor:
        z = 1 - v
        far = z * z / 4 - torch.sin(z * (math.pi / 2)) ** 2 / _PI2
        return torch.where(z < _NEAR, _PI2 / 48 * z**4 * _series(z, 4), far)

    def second(self, v: Tensor) -> Tensor:
        z = 1 - v
        far = z**3 / 12 - (z - torch.sin(math.pi * z) / math.pi) / (2 * _PI2)
        return torch.where(z < _NEAR_SECOND, _PI2 / 240 * z**5 * _series(z, 5), far)

    triton = """
    z = edge(v, rest)
    s = z * z
    density = s * cosine_density(s)
    survival = s * z * cosine_survival(s)
    excess = s * s * cosine_excess(s)
    second = s * s * z * cosine_second(s)
    turn = -9.869604401089358 * (0.5 * z - survival)
    """


ENTRIES = {"cosine": Cosine()}
