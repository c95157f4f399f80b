"""The engine's description of a smoothed function: its coefficients, and the checks of what callers give for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from bevel._checks import check_positive, is_number
from bevel.errors import InvalidValue
from bevel.kernel import Kernel
from bevel.portable import length

Coefficient = float | Tensor
"""A number, or a 1-D floating tensor (length one, or one value per channel), which then has a gradient."""

C = TypeVar("C")
D = TypeVar("D")

GROUPS = ("knots", "jumps", "steps", "c0", "c1")


_LARGEST, _SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


def as_coefficient(value: object, name: str) -> Coefficient:
    """Check one coefficient: a number that is finite in float32, or a 1-D floating tensor of at least one element."""
    if isinstance(value, Tensor):
        if value.dim() != 1 or value.numel() == 0 or not value.is_floating_point():
            raise InvalidValue(
                f"{name} must be a number or a 1-D floating tensor (length one, or one value per channel); got a "
                f"{value.dtype} tensor of shape {tuple(value.shape)}. Use tensor.reshape(-1)."
            )
        return value
    if not is_number(value):
        raise InvalidValue(f"{name} must be a number or a 1-D tensor; got {value!r}.")
    if not -_LARGEST <= value <= _LARGEST:
        within = ", also in float32, which ends at 3.4e38" if math.isfinite(value) else ""
        raise InvalidValue(f"{name} must be finite{within}; got {value!r}.")
    return float(value)


def as_number(value: object, name: str) -> float:
    """Check a number that may not differ between channels; a tensor of one element stands for its number."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        value = value.item()
    if isinstance(value, Tensor):
        raise InvalidValue(
            f"{name} must be one number; got a tensor of shape {tuple(value.shape)}. To start channels differently, "
            "copy into the module's parameter."
        )
    return float(as_coefficient(value, name))


def as_sharpness(n: object) -> Coefficient:
    """Check a sharpness: a number > 0 whose inverse fits float32, or a 1-D floating tensor.

    The values of a tensor are not read; the caller keeps them > 0.
    """
    if isinstance(n, Tensor):
        return as_coefficient(n, "n")
    n = check_positive(n, "the sharpness n", hint="The smoothing width is 1/n.")
    if not _SMALLEST <= n <= 1 / _SMALLEST:
        raise InvalidValue(f"the sharpness n and the width 1/n must fit float32, so 1.2e-38 <= n <= 8.5e37; got {n!r}.")
    return n


def as_one_sharpness(n: object) -> float:
    """Check a sharpness that may not differ between channels."""
    return float(as_sharpness(as_number(n, "n") if isinstance(n, Tensor) else n))


def is_zero(c: object) -> bool:
    """Whether a coefficient is the number zero; a tensor or an expression never is, since it may change."""
    return isinstance(c, int | float) and c == 0


def restore(value: Any, state: list[Any]) -> None:
    """Fill a frozen data class with slots from a pickle, also of a version that had fewer fields."""
    for i, each in enumerate(dataclasses.fields(value)):
        object.__setattr__(value, each.name, state[i] if i < len(state) else each.default)


@dataclass(frozen=True, slots=True)
class Terms(Generic[C]):
    """The coefficients of one function, for :mod:`bevel.formulas`; every tuple has one entry per knot.

    Attributes:
        curve: the second derivative on the left, then its change at each knot; empty for a function made of lines.
        sides: of each knot the branch that it belongs to, ``left`` or ``right``; empty where all belong to the left.
    """

    left: C
    offset: C
    knots: tuple[C, ...]
    jumps: tuple[C, ...]
    steps: tuple[C, ...]
    c0: tuple[C, ...]
    c1: tuple[C, ...]
    multiplies_cdf: bool = False
    curve: tuple[C, ...] = ()
    sides: tuple[str, ...] = ()

    def __setstate__(self, state: list[Any]) -> None:
        restore(self, state)

    def flat(self) -> list[C]:
        """Return left, offset, then knots, jumps, steps, c0, c1, curve; gradients have this order everywhere."""
        return [self.left, self.offset, *self.knots, *self.jumps, *self.steps, *self.c0, *self.c1, *self.curve]

    def names(self) -> list[str]:
        """Return a name for each place of :meth:`flat`: ``left``, ``offset``, ``knots_0``, …, ``bends_0``, …"""
        names = ["left", "offset", *(f"{g}_{i}" for g in GROUPS for i in range(len(self.knots)))]
        return [*names, "left_bend", *(f"bends_{i}" for i in range(len(self.knots)))] if self.curve else names

    def with_flat(self, values: Sequence[D]) -> Terms[D]:
        """Return the same structure with other values."""
        k = len(self.knots)
        groups = [tuple(values[2 + i * k : 2 + (i + 1) * k]) for i in range(len(GROUPS))]
        knots, jumps, steps, c0, c1 = groups
        curve = tuple(values[2 + len(GROUPS) * k :])
        return Terms(values[0], values[1], knots, jumps, steps, c0, c1, self.multiplies_cdf, curve, self.sides)

    def check(self, kernel: Kernel) -> None:
        """Refuse a kernel without a first moment for anything but pure steps, and one without a second for bends."""
        if self.curve and kernel.variance is None:
            raise InvalidValue(
                f"smoothing a bend needs a kernel's second tail integral and its variance; {kernel.name!r} gives only "
                "the three forms of lines. Give it a method second and an attribute variance, or use bevel.tabulated."
            )
        if self.curve and kernel.variance == math.inf:
            raise InvalidValue(
                f"smoothing a bend needs a kernel with a finite variance; {kernel.name!r} has none, so the convolution "
                "is infinite. Use 'logistic' or 'laplace' for heavier tails than the Gaussian's."
            )
        ramps = any(not is_zero(c) for c in (*self.jumps, *self.c0, *self.c1))
        if ramps and not kernel.has_moment:
            why = (
                "x·survival(x) does not die out, and the gate never comes near its two lines"
                if self.multiplies_cdf
                else "the convolution is infinite"
            )
            raise InvalidValue(
                f"smoothing a change of slope needs a kernel with a finite first moment; {kernel.name!r} has none, so "
                f"{why}. Use 'student' for heavy tails, or {kernel.name!r} for pure steps."
            )


def along(c: Coefficient, x: Tensor, dim: int) -> Coefficient:
    """Return ``c`` in x's dtype, shaped to broadcast along ``dim``; a tensor of length one broadcasts with all."""
    if not isinstance(c, Tensor):
        return c
    if length(c) == 1:
        return c.to(x.dtype).reshape(())
    shape = [1] * x.dim()
    shape[dim] = length(c)
    return c.to(x.dtype).reshape(shape)


def as_numbers(c: Coefficient) -> Tensor:
    """Return a coefficient's values as a 1-D float64 tensor on the CPU, without gradients."""
    return c.detach().cpu().double() if isinstance(c, Tensor) else torch.tensor([c], dtype=torch.float64, device="cpu")


def at_channel(terms: Terms[Coefficient], n: Coefficient, channel: int) -> tuple[Terms[Coefficient], float]:
    """Return one channel's coefficients and sharpness as numbers; a tensor of one value serves every channel."""

    def number(c: Coefficient) -> float:
        return float(c.detach()[channel if c.numel() > 1 else 0]) if isinstance(c, Tensor) else c

    values: list[Coefficient] = [number(c) for c in terms.flat()]
    return terms.with_flat(values), number(n)
