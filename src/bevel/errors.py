"""The exceptions bevel raises on purpose.

Every message states the rule, the value got, and what would do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BevelError(Exception):
    """Base of every exception that bevel raises on purpose.

    Example:
        >>> import bevel
        >>> try:
        ...     bevel.create("rellu")
        ... except bevel.BevelError as error:
        ...     print(error)
        unknown activation 'rellu'; did you mean 'relu' or 'relu6' or 'prelu'?
    """


class InvalidValue(BevelError, ValueError):
    """A value breaks a rule of the function it was given to.

    Example:
        >>> import bevel
        >>> bevel.SAU(n=-1.0)
        Traceback (most recent call last):
        ...
        bevel.errors.InvalidValue: the sharpness n must be finite and > 0; got -1.0. The smoothing width is 1/n.
    """


class UnknownName(BevelError, KeyError):
    """No item of that name exists where it was looked up.

    Example:
        >>> import bevel
        >>> bevel.KERNELS["gausian"]
        Traceback (most recent call last):
        ...
        bevel.errors.UnknownName: unknown kernel 'gausian'; did you mean 'gaussian'?
    """

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class BackendUnavailable(BevelError, RuntimeError):
    """A backend was asked for by name and cannot be used on this machine or for this input.

    Example:
        >>> import torch, bevel
        >>> bevel.smooth(torch.zeros(2, device="meta"), "relu", backend="analytic").shape  # any device
        torch.Size([2])
        >>> bevel.smooth(torch.zeros(2, device="meta"), "relu", backend="cpu")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bevel.errors.BackendUnavailable: backend 'cpu' cannot ...
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say ``"did you mean 'x'?"`` where known names are near, else list all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known)


__all__ = ["BackendUnavailable", "BevelError", "InvalidValue", "UnknownName"]
