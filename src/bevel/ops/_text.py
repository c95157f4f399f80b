"""A family as text, for what sees no objects of this process: the nodes of compiled graphs, which are kept on disk.

``torch.compile`` guards a text by its value: one compiled call serves all modules of equal families, whoever made them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from bevel.family import Affine, Family, Slot, constant_of
from bevel.kernel import KERNELS, SHARP, Kernel
from bevel.portable import is_open, known
from bevel.terms import Terms

_SHARED: weakref.WeakValueDictionary[tuple[Any, ...], Family] = weakref.WeakValueDictionary()


def shared(family: Family) -> Family:
    """Return the one object that stands for all families equal to this one, as long as it lives, with its text."""
    found = _SHARED.setdefault((family.terms, family.kernel, family.n, family.log_n), family)
    if not found.text:
        object.__setattr__(found, "text", text_of(found))
    return found


def text_of(family: Family, write: Callable[[list[Any]], str] = json.dumps) -> str:
    """Write a family down for :func:`read`; empty where its kernel is not one of bevel's own, or a number is left open.

    ``torch.compile`` can trace it, with a ``write`` that it takes for a constant. It guards the attributes of a user's
    kernel, which may change; what it has of a text never does.
    """
    kernel, terms, slots = family.kernel, family.terms, family.slots()
    if not (kernel is SHARP or _is_own(kernel)) or any(map(is_open, map(constant_of, slots))):
        return ""
    parts = [(known(s.constant), s.weights, s.products) if isinstance(s, Affine) else known(s) for s in slots]
    return write([kernel.name, parts, len(terms.knots), terms.multiplies_cdf, terms.sides, family.log_n])


def _is_own(kernel: Kernel) -> bool:
    """Whether it is of bevel's own folder; the catalog is asked for no other name, since it would look for its file."""
    return type(kernel).__module__.startswith("bevel.kernels.") and KERNELS.get(kernel.name) is kernel


@functools.lru_cache(maxsize=256)
def read(text: str, sharpness: float | None = None) -> Family:
    """Return the family that :func:`text_of` wrote; ``sharpness``, if given, takes the place of its n."""
    name, slots, count, multiplies_cdf, sides, log_n = json.loads(text)
    *flat, n = (_affine(*slot) if isinstance(slot, list) else slot for slot in slots)
    none = (0.0,) * count
    empty: Terms[Slot] = Terms(0.0, 0.0, none, none, none, none, none, multiplies_cdf, sides=tuple(sides))
    kernel: Kernel = SHARP if name == SHARP.name else KERNELS[name]
    family = Family(empty.with_flat(flat), kernel, n, log_n)
    return family if sharpness is None else dataclasses.replace(family, n=sharpness, log_n=False)


def _affine(constant: float, weights: Sequence[Any], products: Sequence[Any]) -> Affine:
    pairs = tuple(((i, j), weight) for (i, j), weight in products)
    return Affine(constant, tuple((index, weight) for index, weight in weights), pairs)
