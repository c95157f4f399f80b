"""A family of functions: the engine's terms as affine expressions of a few parameters.

SAU is ``left = α, jump = 1 − α, c0 = α`` of one parameter α; FReLU is ``left = b, jump = a − b`` of two. A family keeps
the expressions and not their values, so that one backward call returns the gradients of the parameters themselves.
A chain of torch operations on tiny tensors would cost more than the work on a small input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bevel.formulas import Formulas
from bevel.kernel import SHARP, Kernel
from bevel.portable import lazy
from bevel.terms import Coefficient, Terms, along, is_zero, restore


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + Σ weight·parameters[index]``, for ``(index, weight)`` in ``weights``; products may follow.

    A product, ``((first, second), weight)`` in ``products``, is for functions as (a·x)²; both may be one parameter.
    """

    constant: float
    weights: tuple[tuple[int, float], ...]
    products: tuple[tuple[tuple[int, int], float], ...] = ()

    def __setstate__(self, state: list[Any]) -> None:
        restore(self, state)

    def _combine(self, other: float | Affine, sign: float) -> Affine:
        if not isinstance(other, Affine):
            return Affine(self.constant + sign * other, self.weights, self.products)
        total, products = dict(self.weights), dict(self.products)
        for index, weight in other.weights:
            total[index] = total.get(index, 0.0) + sign * weight
        for pair, weight in other.products:
            products[pair] = products.get(pair, 0.0) + sign * weight
        constant = self.constant + sign * other.constant
        return Affine(constant, tuple(sorted(total.items())), tuple(sorted(products.items())))

    def __add__(self, other: float | Affine) -> Affine:
        return self._combine(other, 1.0)

    def __sub__(self, other: float | Affine) -> Affine:
        return self._combine(other, -1.0)

    def __rsub__(self, other: float) -> Affine:
        return other + -1.0 * self

    __radd__ = __add__

    def __mul__(self, other: float | Affine) -> Affine:
        """Return the product with a number, or of two expressions without products of their own."""
        if not isinstance(other, Affine):
            scaled = tuple((i, w * other) for i, w in self.weights)
            return Affine(self.constant * other, scaled, tuple((p, w * other) for p, w in self.products))
        assert not self.products, "a product of at most two parameters"
        assert not other.products, "a product of at most two parameters"
        total = other.constant * self + self.constant * Affine(0.0, other.weights)
        for i, first in self.weights:
            for j, second in other.weights:
                total = total + Affine(0.0, (), (((min(i, j), max(i, j)), first * second),))
        return total

    __rmul__ = __mul__

    def without_zeros(self) -> Affine:
        """Return the same expression without what has weight 0."""
        return Affine(self.constant, tuple(p for p in self.weights if p[1]), tuple(p for p in self.products if p[1]))

    def indices(self) -> set[int]:
        """Return which parameters it names."""
        return {i for i, _ in self.weights} | {i for pair, _ in self.products for i in pair}

    def renumbered(self, place: Mapping[int, int]) -> Affine:
        """Return it with other numbers for its parameters, in their order."""
        products = tuple(((place[i], place[j]), w) for (i, j), w in self.products)
        return Affine(self.constant, tuple((place[i], w) for i, w in self.weights), products)

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return its value at given parameters, a differentiable 1-D tensor."""
        parts = [weight * parameters[index] for index, weight in self.weights]
        first, *others = [*parts, *(weight * parameters[i] * parameters[j] for (i, j), weight in self.products)]
        total = self.constant + first
        for part in others:
            total = total + part
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
        text: all of it in writing, where ``bevel.ops`` has written it down; no part of the value either.
    """

    terms: Terms[Slot]
    kernel: Kernel
    n: Slot
    log_n: bool = False
    calls: dict[tuple[int, str], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    text: str = field(default="", init=False, repr=False, compare=False)

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.terms, self.kernel, self.n, self.log_n))

    def __hash__(self) -> int:  # computed once, since every call looks a family up
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:  # leaves out the hash and the calls, which belong to this process
        return Family, (self.terms, self.kernel, self.n, self.log_n)

    def __deepcopy__(self, memo: dict[int, Any]) -> Family:  # it never changes
        return self

    def only_formulas(self) -> str | None:
        """Return why no native program computes the function, None where one may."""
        if self.terms.sides and self.kernel is SHARP:
            return "it knows no knot that belongs to its right branch (backend analytic does)"
        return None

    @property
    def has_products(self) -> bool:
        """Whether a coefficient is a product of parameters."""
        return any(isinstance(s, Affine) and s.products for s in self.slots())

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
        for pair in sorted({p for s in (left, *changes) if isinstance(s, Affine) for p, _ in s.products}):
            first, second = (along(self._parameters[i], self.x, self.dim) for i in pair)
            weight = self._sum(functools.partial(_product_of, pair=pair), left, changes)
            total = total + _where_it_counts(weight, first * second)
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
        if family.terms.curve or family.has_products:
            total = self._quadratic_by(index)
        else:
            slope = self._sum(functools.partial(weight_of, index=index), family.terms.left, family.terms.jumps)
            total = _where_it_counts(slope, self.x) + torch.zeros_like(self.x)
            for slot, expression in enumerate(family.terms.flat()):
                weight = weight_of(expression, index)
                if weight and slot:
                    total = total + weight * self.partial(slot)
        of_n = self._weight(family.n, index)
        if not is_zero(of_n):
            total = total + (of_n * self.n if family.log_n else of_n) * self.partial_n()
        return total

    def _weight(self, slot: Slot, index: int) -> Coefficient:
        """Return the derivative of a coefficient by a parameter, which other parameters' values are in."""
        total: Coefficient = weight_of(slot, index)
        for (i, j), factor in slot.products if isinstance(slot, Affine) else ():
            for this, other in ((i, j), (j, i)):
                if this == index:
                    total = total + factor * along(self._parameters[other], self.x, self.dim)
        return total

    def _quadratic_by(self, index: int) -> Tensor:
        """Return the derivative by a parameter: a quadratic of the same knots, and that of what smoothing adds."""
        terms, weight = self._family.terms, functools.partial(self._weight, index=index)
        jumps, steps = [weight(jump) for jump in terms.jumps], [weight(step) for step in terms.steps]
        for i, (expression, knot) in enumerate(zip(terms.knots, self.knots, strict=True)):
            if not is_zero(moved := weight(expression)):
                jumps[i], steps[i] = jumps[i] - moved * knot.bend, steps[i] - moved * knot.jump
        curve = [weight(c) for c in terms.curve] or [0.0] * (1 + len(terms.knots))
        total = torch.zeros_like(self.x) + self.segments.of(
            weight(terms.left), weight(terms.offset), jumps, steps, curve
        )
        for slot, expression in enumerate(terms.flat()):
            if not is_zero(by := weight(expression)):
                total = total + by * self.deviation(slot)
        return total


def _where_it_counts(weight: Tensor | float, value: Coefficient) -> Tensor | float:
    """Return ``weight·value``; where the weight is 0 it is 0 with derivative 0, even if the value is infinite."""
    if isinstance(weight, Tensor):
        return torch.where(weight != 0, weight * value, 0.0)
    return weight * value if weight else 0.0


def weight_of(slot: Slot, index: int) -> float:
    """Return the factor of one parameter in a coefficient."""
    return dict(slot.weights).get(index, 0.0) if isinstance(slot, Affine) else 0.0


def _product_of(slot: Slot, pair: tuple[int, int]) -> float:
    return dict(slot.products).get(pair, 0.0) if isinstance(slot, Affine) else 0.0


def constant_of(slot: Slot) -> float:
    """Return a coefficient's value where every parameter is 0."""
    return slot.constant if isinstance(slot, Affine) else slot
