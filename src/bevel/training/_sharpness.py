"""Let the sharpness of smooth activations grow over training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bevel._checks import check_integer
from bevel.errors import InvalidValue, did_you_mean
from bevel.kernel import SHARP
from bevel.nn import Activation
from bevel.surgery._arguments import Where, activation_modules
from bevel.terms import as_number, as_sharpness

Shape = Literal["geometric", "linear", "cosine"]

_SHAPES: dict[str, Callable[[float, float, float], float]] = {
    "geometric": lambda a, b, t: a * (b / a) ** t,
    "linear": lambda a, b, t: a + (b - a) * t,
    "cosine": lambda a, b, t: a + (b - a) * (1 - math.cos(math.pi * t)) / 2,
}


MOST_APART = math.log(10.0)
"""Largest |δ|: a learnt n stays within ten times the schedule's, above and below."""


class SharpnessSchedule:
    """Move the sharpness n of every smooth activation from ``start`` to ``end``: train smooth, deploy kinked.

    At step t of ``steps``, with ``s = t/steps``: ``geometric`` has ``n = start·(end/start)^s``, ``linear``
    ``n = start + (end − start)·s``, ``cosine`` ``n = start + (end − start)·(1 − cos πs)/2``.

    n is a part of each module's state: the buffer ``n`` or, where n is learnt, the parameter ``log_n``. The schedule
    fills it in place, so that a saved model, an average of models and a compiled model have the n that was reached.

    A fixed n follows the schedule exactly. A learnt one keeps an offset of its own, one a channel::

        log n = log(schedule) + δ,    δ ← (1 − pull)·(δ + what the optimizer added to log n),    |δ| ≤ log 10

    It starts at δ = 0, so that every n is ``start`` at first, and δ dies out where its gradients do: at the end no n is
    below a tenth of ``end``, which is what :func:`bevel.harden` needs.

    Args:
        model: the model, before or after ``torch.compile``.
        start, end: sharpness, finite and > 0.
        steps: how many calls of :meth:`step` lead from one to the other, an integer >= 1; afterwards n stays.
        shape: ``geometric`` (default; equal ratios), ``linear`` or ``cosine``.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.
        pull: share of δ that a step takes away, from 0 to 1; 0 keeps it, 1 sets every learnt n to the schedule's.
            Default: 0.1.

    Raises:
        InvalidValue: for a bad sharpness, steps, shape or pull, or a model in which ``where`` picks no smooth
            activation of the engine.

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
        pull: float = 0.1,
    ) -> None:
        check_integer(steps, "steps", 1)
        self.pull = as_number(pull, "pull")
        if not 0 <= self.pull <= 1:
            raise InvalidValue(
                f"pull must be from 0 to 1, the share of an offset that a step takes away; got {pull!r}."
            )
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
        self._offsets = {
            name: _Offset(module) for name, module in self.sites.items() if module.learnt_sharpness() is not None
        }
        self._apply()

    @property
    def n(self) -> float:
        """The schedule's present sharpness."""
        if self.position >= self.steps:
            return self.end
        return _SHAPES[self.shape](self.start, self.end, self.position / self.steps)

    def step(self) -> None:
        """Advance by one step; call it after the optimizer's step (or once an epoch, with ``steps`` in epochs)."""
        self.position = min(self.position + 1, self.steps)
        for offset in self._offsets.values():
            offset.take(1 - self.pull)
        self._apply()

    def _apply(self) -> None:
        for offset in self._offsets.values():
            offset.write(self.n)
        self._set_fixed()

    def _set_fixed(self) -> None:
        for name, module in self.sites.items():
            if name not in self._offsets:
                module.set_sharpness(self.n)

    def state_dict(self) -> dict[str, Any]:
        """The position and, for each learnt n, δ and what was added to log n since; n itself is rebuilt from them."""
        parts = {name: offset.state() for name, offset in self._offsets.items()}
        return {"position": self.position, "offsets": parts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore position and offsets, and set n accordingly; offsets that the state does not have are 0."""
        self.position = int(state_dict["position"])
        parts = state_dict.get("offsets", {})
        for name, offset in self._offsets.items():
            offset.load(parts.get(name), self.n)
        self._set_fixed()


class _Offset:
    """How far a learnt log n is from the schedule's: δ, and the parameter as it was last written.

    δ is kept in float64 beside the parameter and not read off it: a bfloat16 log n is rounded by 3 % at n = 10⁴, and
    what every step rounded would add up.
    """

    def __init__(self, module: Activation) -> None:
        self._module = module
        self._written = self._learnt.detach().clone()
        self._delta = torch.zeros_like(self._log(self._written))

    @property
    def _learnt(self) -> Tensor:
        return cast("Tensor", self._module.learnt_sharpness())

    def _log(self, values: Tensor) -> Tensor:
        """Log n where the parameter has such values, in float64 where their device has it."""
        try:
            values = values.double()
        except TypeError:  # a device without float64, as Apple's
            values = values.float()
        return values if self._module.family.log_n else values.log()

    @torch.no_grad()
    def _set(self, log_n: Tensor) -> None:
        self._learnt.copy_(log_n if self._module.family.log_n else log_n.exp())

    def _moved(self) -> Tensor:
        """What was added to log n since it was written: exact, since both are numbers of the parameter's dtype.

        If the model has been cast or moved since, then so is what was written: rounding is not the optimizer's doing.
        """
        now = self._learnt.detach()
        log_n = self._log(now)
        self._delta = self._delta.to(log_n)
        return log_n - self._log(self._written.to(now))

    def take(self, keep: float) -> None:
        """Add to δ what the optimizer did, and keep that share of it."""
        self._delta = (keep * (self._delta + self._moved())).clamp(-MOST_APART, MOST_APART)

    def write(self, n: float) -> None:
        """Set ``log n + δ``, and remember what became of it in the parameter's dtype."""
        self._set(self._delta + math.log(n))
        self._written = self._learnt.detach().clone()

    def state(self) -> dict[str, Tensor]:
        return {"moved": self._moved(), "delta": self._delta.clone()}

    def load(self, state: dict[str, Tensor] | None, n: float) -> None:
        """Take over a state: δ and log n are then what they were, to the bit."""
        none = torch.zeros_like(self._log(self._learnt.detach()))
        self._delta = none + state["delta"].to(none) if state else none
        self.write(n)
        if state:
            self._set(self._log(self._written) + state["moved"].to(none))
