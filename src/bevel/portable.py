"""What tracing needs: under export, operators that every runtime has; under compile, no locks; plain numbers and sizes.

ONNX has neither ``erfcx`` nor ``hypot``. bevel uses them for accuracy that no float32 graph shows: the portable forms
agree with them to the rounding of the result, but lose relative accuracy far out in a tail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

from bevel._torch_private import export_flag, jit_paused, jit_tracing

T = TypeVar("T")


def exporting() -> bool:
    """Whether ``torch.export`` or ``torch.onnx.export`` is recording."""
    return export_flag() or torch.onnx.is_in_onnx_export()


def is_open(value: float) -> bool:
    """Whether it is a number whose value ``torch.compile`` leaves open, having seen more than one."""
    if not torch.compiler.is_compiling():
        return False
    from torch.fx.experimental.symbolic_shapes import has_static_value  # it takes sympy's time

    return not has_static_value(value)


def known(value: float) -> float:
    """Return a number that is not open as ``torch.compile``'s constant: it may have been told what a symbol equals."""
    if not torch.compiler.is_compiling():
        return value
    from torch.fx.experimental.symbolic_shapes import guard_scalar

    number: float = guard_scalar(value)
    return number


def hypot(a: Tensor, b: Tensor) -> Tensor:
    """Return ``√(a² + b²)``; the squares overflow or underflow only under export (where |a|, |b| < 1e19 is needed)."""
    return torch.sqrt(a * a + b * b) if exporting() else torch.hypot(a, b)


def horner(coefficients: Sequence[float], t: Tensor) -> Tensor:
    """Return the polynomial of these coefficients, ascending, at t."""
    *others, last = coefficients
    total = torch.full_like(t, last)
    for c in reversed(others):
        total = total * t + c
    return total


def length(t: Tensor) -> int:
    """The number of elements, as a plain number also where ``torch.jit.trace`` makes a tensor of it."""
    if not jit_tracing():
        return t.numel()
    with jit_paused():
        return t.numel()


class lazy(Generic[T]):  # noqa: N801  # used as a decorator, like property
    """``functools.cached_property`` without its lock (before Python 3.12), which ``torch.compile`` cannot enter."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> lazy[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object, owner: type | None = None) -> T | lazy[T]:
        if instance is None:
            return self
        value = self._compute(instance)
        # Python finds the attribute before this descriptor from now on; a frozen data class has no setattr.
        object.__setattr__(instance, self._name, value)
        return value
