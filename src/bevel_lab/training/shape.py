"""The shape of one activation: its values and slopes, and how far it is from the kinked function that it smooths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

import bevel
from bevel._bound import error_bound
from bevel.kernel import SHARP
from bevel.terms import at_channel

REACH, POINTS = 4.0, 801


class Curves(NamedTuple):
    """Values and slopes at ``x``, the points of [−4, 4] that lie 0.01 apart."""

    x: Tensor
    value: Tensor
    slope: Tensor

    def at(self, x: int) -> tuple[float, float]:
        """Value and slope at a number between −4 and 4."""
        index = int((x + REACH) / (2 * REACH) * (POINTS - 1))
        return float(self.value[index]), float(self.slope[index])

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest slope."""
        return float(self.slope.min()), float(self.slope.max())


def curves(module: nn.Module) -> Curves:
    """Compute values and slopes in float64, which the module is made; one channel is all that is asked for."""
    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64, requires_grad=True)
    value = module.double()(x[:, None])[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), x)
    return Curves(x.detach(), value.detach(), slope)


def far_slopes(module: nn.Module) -> tuple[float, float]:
    """Return the slopes of a float64 module far left and far right."""
    far = torch.tensor([[-1e6], [1e6]], dtype=torch.float64, requires_grad=True)
    (ends,) = torch.autograd.grad(module(far).sum(), far)
    left, right = ends.flatten().tolist()
    return left, right


def error(module: nn.Module) -> tuple[float | None, float | None]:
    """The distance to the kinked function that it smooths: as proven, and as measured; None where there is none."""
    if not isinstance(module, bevel.nn.Activation):
        return None, None
    kernel = module.family.kernel
    if kernel is SHARP:
        return 0.0, 0.0
    terms, n = at_channel(*module.coefficients(), 0)
    f = bevel.PiecewiseLinear.of(terms)
    return error_bound(terms, kernel, n), _distance(module, f, 1 / n)


def _distance(module: nn.Module, f: bevel.PiecewiseLinear, width: float) -> float:
    around = torch.linspace(-12, 12, 4801, dtype=torch.float64) * width
    x = torch.cat([around + knot for knot in f.knots] or [around])
    with torch.no_grad():
        return float((module(x[:, None])[:, 0] - f(x)).abs().max())


def bound(module: nn.Module) -> str:
    """Say how far the activation is from the kinked function that it smooths.

    Example:
        >>> bound(bevel.FReLU())
        '0: it is a kinked function itself'
        >>> bound(bevel.create("swish"))
        "none is known: it is not one of bevel's smoothings of a kinked function"
    """
    proven, measured = error(module)
    if measured is None:
        return "none is known: it is not one of bevel's smoothings of a kinked function"
    if proven is None:
        return f"at most {measured:.4g} from its kinked function (measured)"
    if proven == 0:
        return "0: it is a kinked function itself"
    return f"at most {proven:.4g} from its kinked function (proven; {measured:.4g} measured)"
