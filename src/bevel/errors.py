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
        unknown activation 'rellu'; did you mean 'relu' or 'srelu' or 'rrelu'?
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


_SYNONYMS = {"dprelu": "frelu", "fullyparametricrelu": "frelu"}
_OTHER_FUNCTIONS = {
    "funnel": "Funnel ReLU (Ma et al. 2020)",
    "funnelrelu": "Funnel ReLU (Ma et al. 2020)",
    "flexiblerelu": "Flexible ReLU (Qiu et al. 2018)",
    "crelu": "Concatenated ReLU (Shang et al. 2016)",
    "squaredrelu": "squared ReLU (So et al. 2021)",
    "quickgelu": "CLIP's x·sigmoid(1.702·x)",
}
"""Names without underscores that are near to a known name by their letters, and mean something else."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say ``"did you mean 'x'?"`` where known names are near, else list all of them.

    A name in the literature leads to the same function here, or to the sentence that it is another function.
    """
    known = sorted(known)
    letters = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    if (same := _SYNONYMS.get(letters)) in known:
        return f"did you mean {same!r}?"
    if letters in _OTHER_FUNCTIONS and "frelu" in known:
        return (
            f"it is {_OTHER_FUNCTIONS[letters]}, another function than any here (frelu is the fully parametric ReLU)."
        )
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(known) + "."


__all__ = ["BackendUnavailable", "BevelError", "InvalidValue", "UnknownName"]
