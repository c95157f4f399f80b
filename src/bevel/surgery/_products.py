"""Find ``x·sigmoid(a·x)`` that a forward writes out, as gpt-oss does: two calls of torch that are one activation.

The place of the sigmoid's call is the site's. The sigmoid still runs there; the product with its result is what a swap
replaces, told by that result itself. So a result that is used otherwise keeps its meaning.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from bevel.surgery._probe import Source, evaluate, named

PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    getattr(home, name)
    for home, names in (
        (torch, ("mul", "multiply")),
        (Tensor, ("mul", "multiply", "__mul__", "__rmul__")),
        (operator, ("mul",)),
    )
    for name in names
)
"""Every callable that multiplies two tensors and changes neither."""

_QUOTIENTS: frozenset[Callable[..., Any]] = frozenset((torch.div, torch.true_divide, Tensor.div, Tensor.true_divide))


@dataclass(frozen=True)
class _Scaled:
    """A tensor as a multiple of another one, as that was then."""

    of: Tensor
    version: int
    factor: float

    @property
    def holds(self) -> bool:
        return _version(self.of) == self.version


def _version(x: Tensor) -> int:
    """How often a tensor has been changed in place; torch does not count for inference tensors."""
    return 0 if x.is_inference() else int(x._version)


class Products:
    """What is known of the tensors of one run: which are multiples, and which are sigmoids of multiples."""

    def __init__(self) -> None:
        self._scaled = WeakTensorKeyDictionary()
        self._opened = WeakTensorKeyDictionary()

    def opened(self, x: Tensor, result: Any, run: int, then: Callable[[float], None]) -> None:
        """Note that ``result`` is the sigmoid of ``x``; ``then`` is given a if it is multiplied by x/a here."""
        if isinstance(result, Tensor):
            found = self._scaled.get(x)  # type: ignore[no-untyped-call]
            self._opened[result] = (found if found is not None else _Scaled(x, _version(x), 1.0), run, then)

    def follow(self, func: Any, args: tuple[Any, ...], result: Any, run: int) -> None:
        """Note what a function of torch did, if it is a product or a quotient.

        Args:
            func, args, result: the call.
            run: the number of the innermost forward's run; a formula stands in one forward.
        """
        if len(args) != 2 or not (func in PRODUCTS or func in _QUOTIENTS):
            return
        for x, other in (args, args[::-1]):
            if not isinstance(x, Tensor):
                continue
            if isinstance(other, Tensor) and func in PRODUCTS:
                self._close(x, other, run)
            elif type(other) in (int, float) and other and (func in PRODUCTS or x is args[0]):
                self._scaled[result] = _Scaled(x, _version(x), float(other if func in PRODUCTS else 1 / other))

    def _close(self, opened: Tensor, x: Tensor, run: int) -> None:
        scaled, made_in, then = self._opened.get(opened, (None, 0, None))  # type: ignore[no-untyped-call]
        if scaled is not None and scaled.of is x and scaled.holds and made_in == run:
            then(scaled.factor)


def product(factor: float) -> tuple[Source, str] | None:
    """What ``x·sigmoid(factor·x)`` computes, and how it is written; None for a line, or where there is no factor."""
    values = evaluate(lambda x: x * torch.sigmoid(factor * x)) if factor else None
    name = None if values is None else named(values, "swish")
    if name is None:
        return None
    written = "x * sigmoid(x)" if factor == 1 else f"x * sigmoid({factor:g} * x)"
    return Source(name, lambda x: x * torch.sigmoid(factor * x)), written
