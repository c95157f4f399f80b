"""The kinked function of a smooth activation, as the plainest module that computes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

import bevel.kinked as functions
from bevel._piecewise import PiecewiseLinear
from bevel.deploy._model import one_corner, right_slope
from bevel.family import Affine, Family, Slot
from bevel.kernel import SHARP
from bevel.nn import Activation, FReLU, ReLUSquared
from bevel.terms import C, Coefficient, Terms, as_numbers


class Kinked(Activation):
    """The unsmoothed function of an activation, with its parameters (but for a learnt n, which has no meaning here)."""

    def __init__(self, soft: Activation) -> None:
        super().__init__(soft.num_parameters, dim=soft.dim)
        used = sorted({i for slot in soft.family.terms.flat() if isinstance(slot, Affine) for i in slot.indices()})
        place = {old: new for new, old in enumerate(used)}
        for i in used:
            name = soft.arguments[i]
            self._initial[name] = soft.values()[i].detach().clone()
            setattr(self, name, nn.Parameter(soft.values()[i].detach().clone()))
            self.arguments = (*self.arguments, name)

        def moved(slot: Slot) -> Slot:
            return slot.renumbered(place) if isinstance(slot, Affine) else slot

        terms = soft.family.terms.with_flat([moved(s) for s in soft.family.terms.flat()])
        self.family = Family(_sharp(terms), SHARP, 1.0)


def kinked(module: Activation) -> nn.Module:
    """Make the plainest module that computes the activation's kinked function at its present parameters."""
    terms, _ = module.coefficients()
    if one_corner(terms):
        return corner(right_slope(module), as_numbers(terms.left), module.dim, next(iter(module.values()), None))
    return _named(terms) or Kinked(module)


def _named(terms: Terms[Coefficient]) -> nn.Module | None:
    """Find torch's own module (or squared ReLU) with these numbers; None if there is none or one is learnt."""
    numbers = [c for c in (terms.offset, *terms.knots) if isinstance(c, float)]
    if len(numbers) < 2 or any(isinstance(c, Tensor) for c in terms.flat()):
        return None
    offset, first, last = numbers[0], numbers[1], numbers[-1]
    candidates: list[tuple[Callable[[], PiecewiseLinear], Callable[[], nn.Module]]]
    if first < last:
        candidates = [
            (functions.relu6, nn.ReLU6),
            (functions.hardswish, nn.Hardswish),
            (functions.hard_sigmoid, nn.Hardsigmoid),
            (partial(functions.hardtanh, first, last), partial(nn.Hardtanh, first, last)),
        ]
        if last > 0:
            candidates += [
                (partial(functions.soft_shrink, last), partial(nn.Softshrink, last)),
                (partial(functions.hard_shrink, last), partial(nn.Hardshrink, last)),
            ]
    else:
        candidates = [
            (partial(functions.threshold, first, offset), partial(nn.Threshold, first, offset)),
            (functions.relu_squared, ReLUSquared),
        ]
    sharp = _sharp(terms)
    return next((make() for f, make in candidates if _sharp(f().terms) == sharp), None)


def _sharp(terms: Terms[C]) -> Terms[C]:
    """The terms without what only the smoothed function has."""
    none = cast("tuple[C, ...]", (0.0,) * len(terms.knots))
    return dataclasses.replace(terms, c0=none, c1=none, multiplies_cdf=False)


def corner(right: Tensor, left: Tensor, dim: int, like: Tensor | None) -> nn.Module:
    """Make ``right·x for x > 0, left·x otherwise``: a ReLU, LeakyReLU or PReLU if it is one, else an FReLU.

    Args:
        right, left: float64, one value or one per channel along ``dim``.
        dim: the channel axis.
        like: a tensor whose device and dtype the new parameters get; None: torch's default.
    """
    right, left = right + 0 * left, left + 0 * right
    if bool((right == 1).all()):
        if bool((left == left[0]).all()):
            return nn.LeakyReLU(float(left[0])) if float(left[0]) else nn.ReLU()
        if dim == 1:
            return prelu(
                left,
                torch.device("cpu") if like is None else like.device,
                torch.float32 if like is None else like.dtype,
            )
    new = FReLU(right.numel(), dim=dim)
    if like is not None:
        new.to(like.device, like.dtype)
    with torch.no_grad():
        new.positive.copy_(right)
        new.negative.copy_(left)
    return new


def prelu(slopes: Tensor, device: torch.device, dtype: torch.dtype) -> nn.PReLU:
    """A PReLU with these slopes, one per channel along axis 1."""
    module = nn.PReLU(slopes.numel(), device=device, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(slopes)
    return module
