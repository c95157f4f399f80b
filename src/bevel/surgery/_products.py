"""Find ``x·sigmoid(a·x)`` that a forward writes out, as gpt-oss does: two calls of torch that are one activation.

The place of the sigmoid's call is the site's. The sigmoid still runs there; what a swap replaces is the product of its
result and x, told by these tensors themselves, both when the example runs and in every run of the swapped forward. So a
result that is used otherwise keeps its meaning, and so does one that is multiplied by anything but x.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from bevel._torch_private import version
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

_QUOTIENTS: frozenset[Callable[..., Any]] = frozenset(
    (torch.div, torch.true_divide, Tensor.div, Tensor.true_divide, Tensor.__truediv__, operator.truediv)
)


class _Multiple(NamedTuple):
    """A tensor as ``factor`` times the tensor ``of``, as that was then, in this run of a forward."""

    of: Tensor
    written: int | None
    factor: float
    run: int


def _written(x: Tensor) -> int | None:
    """How often a tensor was changed in place; None under ``torch.compile``, which does not say."""
    return None if torch.compiler.is_dynamo_compiling() else version(x)


def _as_it_was(x: Tensor, written: int | None) -> bool:
    now = _written(x)
    return now is None or written is None or now == written


class _Notes:
    """What is noted of tensors as long as they live; of those that ``torch.compile`` traces, as long as this does."""

    def __init__(self) -> None:
        self._alive = None if torch.compiler.is_dynamo_compiling() else WeakTensorKeyDictionary()
        self._traced: list[tuple[Tensor, Any]] = []

    def put(self, x: Tensor, note: Any) -> None:
        if torch.compiler.is_dynamo_compiling() or self._alive is None:
            self._traced.append((x, note))
        else:
            self._alive[x] = note

    def get(self, x: Tensor) -> Any:
        """The note on a tensor, or None."""
        if not torch.compiler.is_dynamo_compiling() and self._alive is not None and x in self._alive:
            return self._alive[x]
        for other, note in self._traced:
            if other is x:
                return note
        return None


class Products:
    """What is known of the tensors of a run: which are multiples, and which are sigmoids of multiples.

    A formula stands in one forward. Who follows several tells them apart by a number for each run.
    """

    def __init__(self) -> None:
        self._multiples = _Notes()
        self._opened = _Notes()

    def multiple(self, x: Tensor, run: int = 0) -> _Multiple:
        """The tensor that ``x`` is a multiple of: ``x`` itself, if this run made it no other way."""
        found: tuple[_Multiple, int | None] | None = self._multiples.get(x)
        if found is not None and found[0].run == run and _as_it_was(x, found[1]):
            return found[0]
        return _Multiple(x, _written(x), 1.0, run)

    def opened(self, multiple: _Multiple, result: Any, what: Any) -> None:
        """Note that ``result`` is the sigmoid of a multiple; its products with the other tensor are ``what``."""
        if isinstance(result, Tensor):
            self._opened.put(result, (multiple, _written(result), what))

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, run: int = 0) -> None:
        """Note what a call of torch made, if it is a product or quotient of a tensor and a number."""
        if kwargs or len(args) != 2 or not (func in PRODUCTS or func in _QUOTIENTS):
            return
        for x, other in (args, args[::-1]):
            if isinstance(x, Tensor) and type(other) in (int, float) and other and (func in PRODUCTS or x is args[0]):
                factor = other if func in PRODUCTS else 1 / other
                self._multiples.put(result, (_Multiple(x, _written(x), factor, run), _written(result)))

    def closed(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], run: int = 0
    ) -> tuple[_Multiple, Any] | None:
        """For a product of x and the sigmoid of a multiple of x: the multiple, and what was said of it; else None."""
        if func not in PRODUCTS or kwargs or len(args) != 2:
            return None
        for opened, x in (args, args[::-1]):
            found = self._opened.get(opened) if isinstance(opened, Tensor) else None
            if found is not None:
                multiple, written, what = found
                same = multiple.of is x and multiple.run == run
                if same and _as_it_was(x, multiple.written) and _as_it_was(opened, written):
                    return multiple, what
        return None


def product(factor: float) -> tuple[Source, str] | None:
    """What ``x·sigmoid(factor·x)`` computes, and how it is written; None for a line, or where there is no factor."""
    values = evaluate(lambda x: x * torch.sigmoid(factor * x)) if factor else None
    name = None if values is None else named(values, "swish")
    if name is None:
        return None
    written = "x * sigmoid(x)" if factor == 1 else f"x * sigmoid({factor:g} * x)"
    return Source(name, lambda x: x * torch.sigmoid(factor * x)), written
