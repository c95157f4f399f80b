"""What the explorer opens at for a spec string."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import bevel
from bevel.kernel import SHARP
from bevel.terms import Terms, at_channel
from bevel_lab.errors import LabError

SMOOTHED = ("gaussian", 5.0)
"""The kernel and n at which the explorer shows a function that has its corners."""


def start_of(spec: str) -> str:
    """Return the state of the explorer for an activation, as its links have it after ``#``.

    Args:
        spec: a spec string of a kinked function or a smoothing of one.

    Returns:
        Text such as ``f=leaky_relu(0.15)&form=published&kernel=gaussian&n=5``.

    Raises:
        LabError: for an activation that is neither.

    Example:
        >>> from bevel_lab import explorer
        >>> explorer.start_of("mollified:f=relu6,kernel=biweight,n=2")
        'f=relu6&form=exact&kernel=biweight&n=2'
        >>> explorer.start_of("sau:n=5")
        'f=leaky_relu(0.15)&form=published&kernel=gaussian&n=5'
    """
    module = bevel.create(spec)
    if not isinstance(module, bevel.nn.Activation):
        function = bevel.kinked.FUNCTIONS.get(spec.strip())
        if function is not None and not function().has_bends:  # torch's own kinked functions have names of bevel's
            return _state({"f": spec.strip(), "form": "exact"}, *SMOOTHED)
        raise LabError(f"the explorer draws kinked functions and their smoothings; {spec!r} is neither. Try sau:n=5.")
    if module.family.terms.curve:
        raise LabError(f"the explorer draws functions made of lines; {spec!r} has parabolas. Try bevel show {spec}.")
    terms, n = at_channel(*module.coefficients(), 0)
    if terms.multiplies_cdf and not any(terms.c1):
        raise LabError(f"the explorer draws no gates, x·cdf(n·x); got {spec!r}. Try smooth_frelu.")
    kernel = module.family.kernel
    named = module.given.get("f")
    drawn = {"f": named, "form": "exact"} if isinstance(named, str) else _function(terms)
    return _state(drawn, *(SMOOTHED if kernel is SHARP else (kernel.name, n)))


def _state(function: dict[str, str], kernel: str, n: float) -> str:
    return urlencode({**function, "kernel": kernel, "n": f"{n:.7g}"}, safe="(),=")


def _function(terms: Terms[bevel.kinked.Coefficient]) -> dict[str, str]:
    """Name the function and the form of the coefficients, or give them all."""
    numbers = [float(c) for c in terms.flat()]
    left, jump = numbers[0], float(terms.jumps[0]) if len(terms.jumps) == 1 else 0.0
    right = left + jump
    if numbers[1:3] == [0.0, 0.0] and len(terms.knots) == 1 and numbers[4] == 0.0:
        if terms.multiplies_cdf:
            return {"f": f"leaky_relu({left:.7g})", "form": "centred"}
        if numbers[5]:
            return {"f": f"leaky_relu({left:.7g})", "form": "published"}
        if abs(right - 1) < 1e-6:
            return {"f": f"leaky_relu({left:.7g})" if left else "relu", "form": "exact"}
        return {"f": f"frelu({right:.7g},{left:.7g})", "form": "exact"}
    groups = {"knots": terms.knots, "jumps": terms.jumps, "steps": terms.steps}
    return {"f": "custom", "left": f"{left:.7g}", "offset": f"{numbers[1]:.7g}"} | {
        name: _list([float(c) for c in values]) for name, values in groups.items()
    }


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:.7g}" for value in values)
