"""Checks of numbers that callers give: each says the rule, the value got, and what would do."""

from __future__ import annotations

import math
from typing import TypeGuard

from bevel.errors import InvalidValue


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is an int or a float; True and False are neither here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_integer(value: object, name: str, least: int | None = None, hint: str = "") -> int:
    """Return an integer that is not below ``least``.

    Args:
        value: what the caller gave.
        name: what the caller calls it.
        least: the smallest value allowed; None allows every integer.
        hint: a sentence that says what would do.

    Raises:
        InvalidValue: for anything else, True and False included.
    """
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        bound = "" if least is None else f" >= {least}"
        raise InvalidValue(f"{name} must be an integer{bound}; got {value!r}.{hint and ' '}{hint}")
    return value


def check_positive(value: object, name: str, *, zero: bool = False, hint: str = "") -> float:
    """Return a finite number > 0 as a float; with ``zero``, 0 is allowed too.

    Raises:
        InvalidValue: for anything else, True and False included.
    """
    # compared, since torch.compile can do that with a number that it leaves open
    if not is_number(value) or not 0 <= value < math.inf or (value == 0 and not zero):
        raise InvalidValue(f"{name} must be finite and {'>=' if zero else '>'} 0; got {value!r}.{hint and ' '}{hint}")
    return float(value)
