"""Random numbers that are asked for again: the cells of a report resample with generators in one state."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_MOST = 32
"""Results that are kept: a cell of a report needs one for each of its arms."""
_kept: dict[tuple[Hashable, ...], tuple[Any, Any]] = {}


def remembered(make: Callable[[], T], rng: np.random.Generator, *key: Hashable) -> T:
    """Return ``make()``, which draws from ``rng``; made once for a key and a state of ``rng``.

    Afterwards ``rng`` is where ``make`` left it, also where the result was remembered.
    """
    asked = (*key, repr(rng.bit_generator.state))
    if asked not in _kept:
        if len(_kept) >= _MOST:
            _kept.clear()
        _kept[asked] = make(), rng.bit_generator.state
    found, rng.bit_generator.state = _kept[asked]
    return found  # type: ignore[no-any-return]
