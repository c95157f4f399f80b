"""A family of functions: the engine's terms as affine expressions of a few parameters.

SAU is ``left = α, jump = 1 − α, c0 = α`` of one parameter α; FReLU is ``left = b, jump = a − b`` of two. Keeping the
expression, and not its value, lets one backward call return the gradients of the parameters themselves: no chain of
operations on tiny tensors around the one that matters, which would cost more than the work on a small input.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.terms import Coefficient, Formulas, Terms


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
        """Its value, differentiable, 1-D."""
        (first, weight), *others = self.weights
        total = self.constant + weight * parameters[first]
        for index, weight in others:
            total = total + weight * parameters[index]
        return total


Slot = float | Affine
"""A coefficient of a family: a number, or an expression of its parameters."""


def parameter(index: int) -> Affine:
    """The expression that is just one parameter."""
    return Affine(0.0, ((index, 1.0),))


def lift(values: Iterable[Coefficient]) -> tuple[list[Slot], list[Tensor]]:
    """Turn tensors among coefficients into parameters: the slots to build a family from, and the tensors."""
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
    """Terms over slots, a kernel, and the sharpness as a slot; a value, so that backends can keep what they made of it.

    Attributes:
        terms: coefficients, each a number or an expression.
        kernel: the approximate identity.
        n: sharpness; with ``log_n`` its logarithm.
        log_n: whether ``n`` is stored as its logarithm.
    """

    terms: Terms[Slot]
    kernel: Kernel
    n: Slot
    log_n: bool = False

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.terms, self.kernel, self.n, self.log_n))

    def __hash__(self) -> int:  # once: it is looked up in every call
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:  # without the hash, which differs between processes
        return Family, (self.terms, self.kernel, self.n, self.log_n)

    def coefficients(self, parameters: Sequence[Tensor]) -> tuple[Terms[Coefficient], Coefficient]:
        """The terms and n at given parameters (1-D tensors of one dtype), differentiable."""
        values = [s.value(parameters) if isinstance(s, Affine) else s for s in self.terms.flat()]
        n = self.n.value(parameters) if isinstance(self.n, Affine) else self.n
        return self.terms.with_flat(values), (torch.exp(n) if self.log_n and isinstance(n, Tensor) else n)

    def formulas(self, x: Tensor, parameters: Sequence[Tensor], dim: int) -> Formulas:
        """The composed formulas in the dtype of arithmetic: float64 for float64, else float32."""
        inner = x if x.dtype == torch.float64 else x.to(torch.float32)
        terms, n = self.coefficients([p.to(inner.dtype) for p in parameters])
        return Formulas(inner, terms, self.kernel, n, dim)

    def partial(self, at: Formulas, index: int) -> Tensor:
        """Elementwise derivative by one parameter."""
        total = torch.zeros_like(at.x)
        for slot, expression in enumerate(self.terms.flat()):
            weight = _weight(expression, index)
            if weight:
                total = total + weight * at.partial(slot)
        weight = _weight(self.n, index)
        if weight:
            total = total + (weight * at.n if self.log_n else weight) * at.partial_n()
        return total


def _weight(slot: Slot, index: int) -> float:
    return dict(slot.weights).get(index, 0.0) if isinstance(slot, Affine) else 0.0
