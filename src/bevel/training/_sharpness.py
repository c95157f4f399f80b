"""Let the sharpness of smooth activations grow over training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, cast

from torch import nn

from bevel._checks import check_integer
from bevel.errors import InvalidValue, did_you_mean
from bevel.kernel import SHARP
from bevel.nn import Activation
from bevel.surgery._arguments import Where, activation_modules
from bevel.terms import as_sharpness

Shape = Literal["geometric", "linear", "cosine"]

_SHAPES: dict[str, Callable[[float, float, float], float]] = {
    "geometric": lambda a, b, t: a * (b / a) ** t,
    "linear": lambda a, b, t: a + (b - a) * t,
    "cosine": lambda a, b, t: a + (b - a) * (1 - math.cos(math.pi * t)) / 2,
}


class SharpnessSchedule:
    """Move the sharpness n of every smooth activation from ``start`` to ``end``: train smooth, deploy kinked.

    At step t of ``steps``, with ``s = t/steps``: ``geometric`` has ``n = start·(end/start)^s``, ``linear``
    ``n = start + (end − start)·s``, ``cosine`` ``n = start + (end − start)·(1 − cos πs)/2``.

    n is a part of each module's state: the buffer ``n`` or, where n is learnt, the parameter ``log_n``. The schedule
    fills it in place, so that a saved model, an average of models and a compiled model have the n that was reached.
    Where n is learnt the schedule wins: what an optimizer did to it is overwritten by the next :meth:`step`.

    Args:
        model: the model, before or after ``torch.compile``.
        start, end: sharpness, finite and > 0.
        steps: how many calls of :meth:`step` lead from one to the other, an integer >= 1; afterwards n stays.
        shape: ``geometric`` (default; equal ratios), ``linear`` or ``cosine``.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.

    Raises:
        InvalidValue: for a bad sharpness, steps or shape, or a model without a smooth activation of the engine.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), bevel.SAU(8), torch.nn.Linear(8, 1))
        >>> schedule = bevel.SharpnessSchedule(model, start=2.0, end=200.0, steps=2)
        >>> for _ in range(2):
        ...     schedule.step()  # after optimizer.step()
        >>> schedule.n
        200.0
    """

    def __init__(
        self,
        model: nn.Module,
        start: float,
        end: float,
        steps: int,
        shape: Shape = "geometric",
        where: Where = None,
    ) -> None:
        check_integer(steps, "steps", 1)
        if shape not in _SHAPES:
            raise InvalidValue(
                f"shape must be one of {', '.join(_SHAPES)}; got {shape!r}; {did_you_mean(shape, _SHAPES)}"
            )
        self.start, self.end = float(as_sharpness(start)), float(as_sharpness(end))
        self.steps, self.shape = steps, shape
        self.position = 0
        found = cast("dict[str, Activation]", activation_modules(model, Activation, where))
        self.sites = {name: m for name, m in found.items() if m.family.kernel is not SHARP}
        if not self.sites:
            raise InvalidValue(
                "the model of a sharpness schedule must have a smooth activation of bevel's family (sau, smooth_frelu, "
                "mollified, …); got one without. bevel.swap puts one in."
            )
        self._apply()

    @property
    def n(self) -> float:
        """The present sharpness."""
        if self.position >= self.steps:
            return self.end
        return _SHAPES[self.shape](self.start, self.end, self.position / self.steps)

    def step(self) -> None:
        """Advance by one step; call it after the optimizer's step (or once an epoch, with ``steps`` in epochs)."""
        self.position = min(self.position + 1, self.steps)
        self._apply()

    def _apply(self) -> None:
        for module in self.sites.values():
            module.set_sharpness(self.n)

    def state_dict(self) -> dict[str, Any]:
        """The position; n itself is rebuilt from it."""
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position and set n accordingly."""
        self.position = int(state_dict["position"])
        self._apply()
