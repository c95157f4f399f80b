"""A family of functions: the engine's terms as affine expressions of a few parameters.

SAU is ``left = α, jump = 1 − α, c0 = α`` of one parameter α; FReLU is ``left = b, jump = a − b`` of two. A family keeps
the expressions and not their values, so that one backward call returns the gradients of the parameters themselves.
A chain of torch operations on tiny tensors would cost more than the work on a small input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bevel.formulas import Formulas
from bevel.kernel import SHARP, Kernel
from bevel.portable import lazy
from bevel.terms import Coefficient, Terms, along


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + Σ weight·parameters[index]``, for ``(index, weight)`` in ``weights``."""

    constant: float
    weights: tuple[tuple[int, float], ...]

    def _combine(self, other: float | Affine, sign: float) -> Affine:
        if not isinstance(other, Affine):
            return Affine(self.constant + sign * other, self.weights)
        total = dict(self.weights)
        for index, weight in other.weights:
            total[index] = total.get(index, 0.0) + sign * weight
        return Affine(self.constant + sign * other.constant, tuple(sorted(total.items())))

    def __add__(self, other: float | Affine) -> Affine:
        return self._combine(other, 1.0)

    def __sub__(self, other: float | Affine) -> Affine:
        return self._combine(other, -1.0)

    def __rsub__(self, other: float) -> Affine:
        return Affine(other - self.constant, tuple((i, -w) for i, w in self.weights))

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return its value at given parameters, a differentiable 1-D tensor."""
        (first, weight), *others = self.weights
        total = self.constant + weight * parameters[first]
        for index, weight in others:
            total = total + weight * parameters[index]
        return total


Slot = float | Affine
"""A coefficient of a family: a number, or an expression of its parameters."""


def parameter(index: int) -> Affine:
    """Return the expression that is one parameter alone."""
    return Affine(0.0, ((index, 1.0),))


def lift(values: Iterable[Coefficient]) -> tuple[list[Slot], list[Tensor]]:
    """Make parameters of the tensors among coefficients; return the slots of a family, and the tensors."""
    slots: list[Slot] = []
    tensors: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            slots.append(parameter(len(tensors)))
            tensors.append(value)
        else:
            slots.append(value)
    return slots, tensors


@dataclass(frozen=True)
class Family:
    """Coefficients as slots, a kernel, and the sharpness as a slot.

    It is a value: backends keep what they made of a family, and find it again by an equal one.

    Attributes:
        terms: coefficients, each a number or an expression.
        kernel: the approximate identity.
        n: sharpness; with ``log_n`` its logarithm.
        log_n: whether ``n`` is stored as its logarithm.
        calls: by channel axis and rule of saving, the ready call that ``bevel.ops`` keeps with this very object; it is
            no part of the value.
    """

    terms: Terms[Slot]
    kernel: Kernel
    n: Slot
    log_n: bool = False
    calls: dict[tuple[int, str], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.terms, self.kernel, self.n, self.log_n))

    def __hash__(self) -> int:  # computed once, since every call looks a family up
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:  # leaves out the hash and the calls, which belong to this process
        return Family, (self.terms, self.kernel, self.n, self.log_n)

    def only_formulas(self) -> str | None:
        """Return why no native program computes the function, None where one may: they know lines, steps and tails."""
        if self.terms.curve:
            return "it knows no bends (backend analytic does)"
        if self.terms.sides and self.kernel is SHARP:
            return "it knows no knot that belongs to its right branch (backend analytic does)"
        return None

    def slots(self) -> list[Slot]:
        """Return the coefficients in the order of :meth:`Terms.flat`, then n."""
        return [*self.terms.flat(), self.n]

    def coefficients(self, parameters: Sequence[Tensor]) -> tuple[Terms[Coefficient], Coefficient]:
        """Return the terms and n at given parameters (1-D tensors of one dtype), differentiable."""
        values = [s.value(parameters) if isinstance(s, Affine) else s for s in self.terms.flat()]
        n = self.n.value(parameters) if isinstance(self.n, Affine) else self.n
        return self.terms.with_flat(values), (torch.exp(n) if self.log_n and isinstance(n, Tensor) else n)

    def formulas(self, x: Tensor, parameters: Sequence[Tensor], dim: int) -> FamilyFormulas:
        """Return the composed formulas in the dtype of arithmetic: float64 for float64, else float32."""
        inner = x if x.dtype == torch.float64 else x.to(torch.float32)
        return FamilyFormulas(self, inner, [p.to(inner.dtype) for p in parameters], dim)


class FamilyFormulas(Formulas):
    """The formulas at given parameters, with the line's slope summed as an expression of the parameters.

    Right of SAU's knot the slope is ``α + (1 − α)`` and does not depend on α. Summed as two numbers, its derivative by
    α would be x − x, which is NaN at x = ∞, and at x = 8 hides the true derivative −8e-17.
    """

    def __init__(self, family: Family, x: Tensor, parameters: Sequence[Tensor], dim: int) -> None:
        terms, n = family.coefficients(parameters)
        super().__init__(x, terms, family.kernel, n, dim)
        self._family = family
        self._parameters = parameters

    @lazy
    def line_slope(self) -> Tensor | float:
        return self._expression(self._family.terms.left, self._family.terms.jumps)

    @lazy
    def bend(self) -> Coefficient:
        return self._expression(self._family.terms.curve[0], self._family.terms.curve[1:])

    def _expression(self, left: Slot, changes: Sequence[Slot]) -> Tensor | float:
        """Return what holds at x of ``left`` and its changes at the knots, summed as expressions."""
        total = self._sum(constant_of, left, changes)
        for index, value in enumerate(self._parameters):
            weight = self._sum(functools.partial(weight_of, index=index), left, changes)
            total = total + _where_it_counts(weight, along(value, self.x, self.dim))
        return total

    def _sum(self, part: Callable[[Slot], float], left: Slot, changes: Sequence[Slot]) -> Tensor | float:
        """Return one part of an expression at x: its constant, or the weight of a parameter."""
        total: Tensor | float = part(left)
        for knot, change in zip(self.knots, changes, strict=True):
            if part(change):
                total = total + part(change) * knot.right
        return total

    def by_parameter(self, index: int) -> Tensor:
        """Return the elementwise derivative by one parameter."""
        family = self._family
        weight_here = functools.partial(weight_of, index=index)
        curved = bool(family.terms.curve)
        if curved:
            total = self._quadratic_by(weight_here)
        else:
            slope = self._sum(weight_here, family.terms.left, family.terms.jumps)
            total = _where_it_counts(slope, self.x) + torch.zeros_like(self.x)
        for slot, expression in enumerate(family.terms.flat()):
            weight = weight_of(expression, index)
            if weight and slot:
                total = total + weight * (self.deviation(slot) if curved else self.partial(slot))
        weight = weight_of(family.n, index)
        if weight:
            total = total + (weight * self.n if family.log_n else weight) * self.partial_n()
        return total

    def _quadratic_by(self, weight: Callable[[Slot], float]) -> Tensor:
        """Return the unsmoothed quadratic's derivative by a parameter: a quadratic of the same knots."""
        terms = self._family.terms
        jumps: list[Coefficient] = [weight(jump) for jump in terms.jumps]
        steps: list[Coefficient] = [weight(step) for step in terms.steps]
        for i, (expression, knot) in enumerate(zip(terms.knots, self.knots, strict=True)):
            if moved := weight(expression):
                jumps[i], steps[i] = jumps[i] - moved * knot.bend, steps[i] - moved * knot.jump
        return self.segments.of(
            weight(terms.left), weight(terms.offset), jumps, steps, [weight(c) for c in terms.curve]
        ) + torch.zeros_like(self.x)


def _where_it_counts(weight: Tensor | float, value: Coefficient) -> Tensor | float:
    """Return ``weight·value``; where the weight is 0 it is 0 with derivative 0, even if the value is infinite."""
    if isinstance(weight, Tensor):
        return torch.where(weight != 0, weight * value, 0.0)
    return weight * value if weight else 0.0


def weight_of(slot: Slot, index: int) -> float:
    """Return the factor of one parameter in a coefficient."""
    return dict(slot.weights).get(index, 0.0) if isinstance(slot, Affine) else 0.0


def constant_of(slot: Slot) -> float:
    """Return a coefficient's value where every parameter is 0."""
    return slot.constant if isinstance(slot, Affine) else slot
