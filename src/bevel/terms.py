"""The engine's description of a smoothed function, and its composed formulas.

With width ``w = 1/n``, ``uᵢ = (x − knotᵢ)·n`` and ``vᵢ = |uᵢ|`` every function of bevel's own family is its kinked
line plus deviations that decay away from the knots::

    value = line(x) + Σ jumpᵢ·w·excess(vᵢ)            smoothed kinks   (gate: − Σ jumpᵢ·w·vᵢ·survival(vᵢ))
                    ± Σ stepᵢ·survival(vᵢ)            smoothed steps
                    + Σ (c0ᵢ + c1ᵢ·x)·w·moment(vᵢ)    SAU's published and centred forms

``line`` is evaluated segment by segment, so that a flat end stays flat for |x| as large as you like, where a sum of
ramps would cancel. ``multiplies_cdf`` turns ``jump·ramp`` into ``jump·x·cdf``: GELU, SiLU, SMU, SAU's centred form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from bevel._checks import check_positive, is_number
from bevel.errors import InvalidValue
from bevel.kernel import Kernel
from bevel.portable import lazy

Coefficient = float | Tensor
"""A number, or a 1-D floating tensor (length one, or one value per channel), which then has a gradient."""

C = TypeVar("C")
D = TypeVar("D")

GROUPS = ("knots", "jumps", "steps", "c0", "c1")


_LARGEST, _SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


def as_coefficient(value: object, name: str) -> Coefficient:
    """Check one coefficient: a number finite in float32, or a 1-D floating tensor of at least one element."""
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
    """Check a number that may not differ between channels; a tensor of one element is its number."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        value = value.item()
    if isinstance(value, Tensor):
        raise InvalidValue(
            f"{name} must be one number; got a tensor of shape {tuple(value.shape)}. To start channels differently, "
            "copy into the module's parameter."
        )
    return float(as_coefficient(value, name))


def as_sharpness(n: object) -> Coefficient:
    """Check a sharpness: a number > 0 that has an inverse in float32, or a 1-D floating tensor (whose values are the
    caller's to keep > 0)."""
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


@dataclass(frozen=True, slots=True)
class Terms(Generic[C]):
    """Coefficients of one function; every tuple has one entry per knot. See the module's text."""

    left: C
    offset: C
    knots: tuple[C, ...]
    jumps: tuple[C, ...]
    steps: tuple[C, ...]
    c0: tuple[C, ...]
    c1: tuple[C, ...]
    multiplies_cdf: bool = False

    def flat(self) -> list[C]:
        """left, offset, then knots, jumps, steps, c0, c1: the order of gradients everywhere."""
        return [self.left, self.offset, *self.knots, *self.jumps, *self.steps, *self.c0, *self.c1]

    def names(self) -> list[str]:
        """A name for each place of :meth:`flat`: ``left``, ``offset``, ``knots_0``, …"""
        return ["left", "offset", *(f"{g}_{i}" for g in GROUPS for i in range(len(self.knots)))]

    def with_flat(self, values: Sequence[D]) -> Terms[D]:
        """The same structure with other values."""
        k = len(self.knots)
        groups = [tuple(values[2 + i * k : 2 + (i + 1) * k]) for i in range(len(GROUPS))]
        knots, jumps, steps, c0, c1 = groups
        return Terms(values[0], values[1], knots, jumps, steps, c0, c1, self.multiplies_cdf)

    def check(self, kernel: Kernel) -> None:
        """Refuse a kernel without a first moment for anything but pure steps."""
        ramps = any(not is_zero(c) for c in (*self.jumps, *self.c0, *self.c1))
        if ramps and not kernel.has_moment:
            raise InvalidValue(
                f"smoothing a change of slope needs a kernel with a finite first moment; {kernel.name!r} has none, so "
                f"the convolution is infinite. Use 'student' for heavy tails, or {kernel.name!r} for pure steps."
            )


def along(c: Coefficient, x: Tensor, dim: int) -> Coefficient:
    """``c`` in x's dtype, shaped so that it broadcasts along ``dim`` (length one: with everything)."""
    if not isinstance(c, Tensor):
        return c
    if c.numel() == 1:
        return c.to(x.dtype).reshape(())
    shape = [1] * x.dim()
    shape[dim] = c.numel()
    return c.to(x.dtype).reshape(shape)


def as_numbers(c: Coefficient) -> Tensor:
    """A coefficient's values as a 1-D float64 tensor on the CPU, without gradients."""
    return c.detach().cpu().double() if isinstance(c, Tensor) else torch.tensor([c], dtype=torch.float64, device="cpu")


def at_channel(terms: Terms[Coefficient], n: Coefficient, channel: int) -> tuple[Terms[Coefficient], float]:
    """One channel's coefficients and sharpness as numbers; tensors of one value are every channel's."""

    def number(c: Coefficient) -> float:
        return float(c.detach()[channel if c.numel() > 1 else 0]) if isinstance(c, Tensor) else c

    values: list[Coefficient] = [number(c) for c in terms.flat()]
    return terms.with_flat(values), number(n)


class Formulas:
    """The composed formulas at ``x``: plain differentiable torch operations, hence the oracle of every backend.

    Args:
        x: float32 or float64, any shape.
        terms: coefficients; tensors of one value, or one per channel along ``dim``.
        kernel: the approximate identity.
        n: sharpness.
    """

    def __init__(self, x: Tensor, terms: Terms[Coefficient], kernel: Kernel, n: Coefficient, dim: int = 1) -> None:
        self.x = x
        self.dim = dim
        self.kernel = kernel
        self.terms = terms.with_flat([along(c, x, dim) for c in terms.flat()])
        self.n = along(n, x, dim)
        self.w = 1 / self.n
        self.knots = [_Knot(self, i) for i in range(len(terms.knots))]

    @lazy
    def line_slope(self) -> Tensor | float:
        """The slope of the kinked line at x, its left branch at a knot."""
        total: Tensor | float = self.terms.left
        for k in self.knots:
            total = total + (k.right * k.jump if isinstance(k.jump, float) else k.where_right(k.jump))
        return total

    def value(self) -> Tensor:
        """The function."""
        intercept: Coefficient = self.terms.offset
        for k in self.knots:
            intercept = intercept + k.right * (k.step - k.jump * k.knot)
        slope = self.line_slope
        x = self.x
        if isinstance(slope, Tensor) or slope == 0:  # a flat end at ±inf is its level, not 0·inf
            x = torch.where(torch.isinf(x) & torch.as_tensor(slope == 0, device=x.device), 0.0, x)
        total = slope * x + intercept
        for k in self.knots:
            for part in k.deviations():
                total = total + part
        return total

    def slope(self) -> Tensor:
        """Derivative in x."""
        total = self.line_slope + torch.zeros_like(self.x)
        for k in self.knots:
            for part in k.slopes():
                total = total + part
        return torch.where(torch.isnan(self.x), self.x, total)

    def curvature(self) -> Tensor:
        """Second derivative in x of a mollified function (no gate, no c0, c1)."""
        total = torch.zeros_like(self.x)
        for k in self.knots:
            if not is_zero(k.jump):
                total = total + k.jump * self.n * k.pdf
            if not is_zero(k.step):
                total = total + k.step * self.n * self.n * self.kernel.pdf_slope(k.u)
        return total

    def partial(self, slot: int) -> Tensor:
        """Elementwise derivative by the coefficient at one place of :meth:`Terms.flat`, the line's slope held.

        What is left out, x for ``left`` and ``[x > knot]·x`` for a jump, is to be added by whoever knows which of them
        go together: x − x is NaN at x = ∞, and far out it swallows what decays.
        """
        if slot < 2:
            return torch.zeros_like(self.x) if slot == 0 else torch.ones_like(self.x)
        group, i = divmod(slot - 2, len(self.knots))
        return self.knots[i].partial(GROUPS[group])

    def partial_n(self) -> Tensor:
        """Elementwise derivative by n, ``−w²·∂/∂w``."""
        total = torch.zeros_like(self.x)
        for k in self.knots:
            total = total + k.partial_w()
        return -self.w * self.w * total


class _Knot:
    """What one knot contributes; kernel forms are computed once, when first asked for."""

    def __init__(self, at: Formulas, i: int) -> None:
        t, x = at.terms, at.x
        self.at = at
        self.knot, self.jump, self.step, self.c0, self.c1 = t.knots[i], t.jumps[i], t.steps[i], t.c0[i], t.c1[i]
        mask = x > self.knot  # at the knot itself: the left branch, torch's choice for ReLU
        self.mask = mask
        self.right = mask.to(x.dtype)
        self.distance = x - self.knot
        most = torch.finfo(x.dtype).max
        u = self.distance.clamp(-most, most) * at.n  # finite: the clamp's derivative below, 0, times ∞ would be NaN
        # The sign comes from the mask, not from |u|: autograd then sees one branch, also at u = 0.
        reach = min(at.kernel.reach, most)
        self.v = torch.where(mask, u, -u).clamp(max=reach)
        self.u = torch.where(mask, self.v, -self.v)
        self._near = self.v < reach

    @lazy
    def pdf(self) -> Tensor:
        return self.at.kernel.density(self.v)

    @lazy
    def survival(self) -> Tensor:
        return self.at.kernel.survival(self.v)

    @lazy
    def excess(self) -> Tensor:
        return self.at.kernel.excess(self.v)

    @lazy
    def moment(self) -> Tensor:
        return self.at.kernel.moment(self.v)

    @lazy
    def below(self) -> Tensor:
        """cdf(u) − [x > knot]: survival with the sign of the near side."""
        return torch.where(self.mask, -self.survival, self.survival)

    def where_right(self, value: Tensor) -> Tensor:
        """``value`` right of the knot, else 0, whose derivative is 0 there even where 0·∞ would stand for it."""
        return torch.where(self.mask, value, 0.0)

    def _within_reach(self, value: Tensor) -> Tensor:
        """``value``, and 0 where the kernel's forms have vanished: ±inf times them would be NaN."""
        return torch.where(self._near, value, torch.zeros_like(value))

    @lazy
    def lag(self) -> Tensor:
        """|x − knot|·survival: how far ``x·cdf`` stays behind the ramp."""
        return self._within_reach(torch.where(self.mask, self.distance, -self.distance)) * self.survival

    @lazy
    def weight(self) -> Coefficient:
        """c0 + c1·x, the weight of the moment."""
        return self.c0 if is_zero(self.c1) else self.c0 + self.c1 * self._within_reach(self.at.x)

    @property
    def extra(self) -> bool:
        return not (is_zero(self.c0) and is_zero(self.c1))

    def deviations(self) -> Iterator[Tensor]:
        w = self.at.w
        if not is_zero(self.jump):
            yield -self.jump * self.lag if self.at.terms.multiplies_cdf else self.jump * w * self.excess
        if not is_zero(self.step):
            yield self.step * self.below
        if self.extra:
            yield self.weight * (w * self.moment)

    def slopes(self) -> Iterator[Tensor]:
        at = self.at
        if not is_zero(self.jump):
            yield self.jump * (self.below + self.u * self.pdf if at.terms.multiplies_cdf else self.below)
        if not is_zero(self.step):
            yield self.step * at.n * self.pdf
        if self.extra:
            yield self.c1 * (at.w * self.moment) - self.weight * (self.u * self.pdf)

    def partial(self, group: str) -> Tensor:
        w = self.at.w
        if group == "knots":
            total = -self.right * self.jump - sum(self.slopes(), start=torch.zeros_like(self.v))
            return total if is_zero(self.c1) else total + self.c1 * (w * self.moment)
        if group == "jumps":
            return (-self.lag if self.at.terms.multiplies_cdf else w * self.excess) - self.right * self.knot
        if group == "steps":
            return self.right + self.below
        moment = w * self.moment
        return moment if group == "c0" else self._within_reach(self.at.x) * moment

    def partial_w(self) -> Tensor:
        total = torch.zeros_like(self.v)
        if not is_zero(self.jump):
            total = total + self.jump * (-self.u * (self.u * self.pdf) if self.at.terms.multiplies_cdf else self.moment)
        if not is_zero(self.step):
            total = total - self.step * self.at.n * (self.u * self.pdf)
        if self.extra:
            total = total + self.weight * (self.moment + self.u * (self.u * self.pdf))
        return total
