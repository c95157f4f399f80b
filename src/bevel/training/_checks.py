"""Checks that several modules make of their arguments."""

from __future__ import annotations

from bevel.errors import InvalidValue


def check_count(value: object, name: str) -> None:
    """Refuse anything but an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValue(f"{name} must be an integer >= 1; got {value!r}.")
