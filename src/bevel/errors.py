"""The exceptions bevel raises on purpose.

Every message states the rule, the value got, and what would do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BevelError(Exception):
    """Base of every exception that bevel raises on purpose."""


class InvalidValue(BevelError, ValueError):
    """A value breaks a rule of the function it was given to."""


class UnknownName(BevelError, KeyError):
    """A name is not on the shelf it was looked up on."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class BackendUnavailable(BevelError, RuntimeError):
    """A backend was asked for by name and cannot be used here."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for near misses, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known)


__all__ = ["BackendUnavailable", "BevelError", "InvalidValue", "UnknownName"]
