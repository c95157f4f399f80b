"""Alternate optimization, as FReLU's paper trains (Varshney and Singh 2021).

Network weights learn while the slopes are frozen, then the other way round. The paper's schedule is not public, so it
is an argument here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal, overload

from torch import Tensor
from torch.optim import Optimizer

from bevel._checks import check_integer
from bevel._torch_private import load_state_hooks
from bevel.errors import InvalidValue, did_you_mean

_COUNT = "alternating_count"  # lives in the first weights group, so that every checkpoint format carries it


class _JoinedState(MutableMapping[Tensor, Any]):
    """Show the states of two optimizers as one mapping; writing to it writes to them."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        self._first, self._second = first, second

    def _owner(self, key: Tensor) -> Optimizer:
        mine = any(key is p for group in self._second.param_groups for p in group["params"])
        return self._second if mine else self._first

    def __getitem__(self, key: Tensor) -> Any:
        return self._owner(key).state[key]

    def __setitem__(self, key: Tensor, value: Any) -> None:
        self._owner(key).state[key] = value

    def __delitem__(self, key: Tensor) -> None:
        del self._owner(key).state[key]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self._first.state
        yield from self._second.state

    def __len__(self) -> int:
        return len(self._first.state) + len(self._second.state)


class Alternating(Optimizer):
    """Join two optimizers into one: each ``step`` moves the weights or the activations' parameters, never both.

    Autograd still computes the gradients of the frozen set (so DDP, FSDP and GradScaler see nothing unusual), but its
    optimizer is not called: no momentum, no decay, no step count moves. ``zero_grad`` clears both sets, so that the
    gradients of the frozen set do not add up. ``state_dict`` holds the place in the schedule too.

    Momentum and short phases do not go together: a set moves on in a direction that was right before the other one
    moved. On ``(w² + a²)/2 + 0.9·w·a`` with momentum 0.9, turns of one step converge up to a learning rate of 0.22,
    where both at once do up to 2.0 and turns of fifty steps up to 3.7; without momentum, turns of one step do up to
    2.0 and both at once up to 1.05. So leave momentum out, or let phases last fifty steps or an epoch.

    Args:
        weights_optimizer, activations_optimizer: any two optimizers over different parameters.
        weights_steps, activation_steps: length of the two phases, in the unit of ``by``, integers >= 1; default 1. The
            weights go first.
        by: the unit of the phases, ``step`` (default; calls of :meth:`step`) or ``epoch``.
        steps_per_epoch: with ``by="epoch"`` the number of ``step`` calls in an epoch, or ``"manual"`` if you call
            :meth:`end_epoch` after each. There is no default: a loop that forgot the call would train the weights only
            and never say so.

    Raises:
        InvalidValue: for overlapping or empty sets, phases that are no integers >= 1, an epoch without a signal, or
            ``steps_per_epoch`` with ``by="step"``.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), bevel.FReLU(8), torch.nn.Linear(8, 1))
        >>> weights, slopes = bevel.parameter_groups(model, lr=0.1, activation_lr=0.01)
        >>> optimizer = bevel.Alternating(torch.optim.SGD([weights]), torch.optim.Adam([slopes]), weights_steps=2)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     model(torch.randn(16, 4)).square().mean().backward()
        ...     print(optimizer.phase)
        ...     optimizer.step()
        weights
        weights
        activations
    """

    def __init__(
        self,
        weights_optimizer: Optimizer,
        activations_optimizer: Optimizer,
        *,
        weights_steps: int = 1,
        activation_steps: int = 1,
        by: Literal["step", "epoch"] = "step",
        steps_per_epoch: int | Literal["manual"] | None = None,
    ) -> None:
        _check_sets(weights_optimizer, activations_optimizer)
        check_integer(weights_steps, "weights_steps", 1)
        check_integer(activation_steps, "activation_steps", 1)
        _check_signal(by, steps_per_epoch)
        self.weights_optimizer, self.activations_optimizer = weights_optimizer, activations_optimizer
        self.weights_steps, self.activation_steps = weights_steps, activation_steps
        self.by, self.steps_per_epoch = by, steps_per_epoch
        self._stepped = False
        self._built = False
        super().__init__([{"params": []}], _joined_defaults(weights_optimizer, activations_optimizer))
        self._built = True
        self._count = 0

    # The groups and the state are views of the two optimizers', so nothing can drift apart: what a scheduler, an
    # FSDP wrapper or a device move writes here arrives there, and the other way round.

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, weights first; the dicts are the optimizers' own."""
        return [*self.weights_optimizer.param_groups, *self.activations_optimizer.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        if self._built:
            count = len(self.weights_optimizer.param_groups)
            self.weights_optimizer.param_groups = groups[:count]
            self.activations_optimizer.param_groups = groups[count:]

    @property  # type: ignore[override]  # torch has an attribute here, a plain dict
    def state(self) -> MutableMapping[Tensor, Any]:
        """The states of both."""
        return _JoinedState(self.weights_optimizer, self.activations_optimizer)

    @state.setter
    def state(self, state: MutableMapping[Tensor, Any]) -> None:
        if self._built:
            for key in list(self.state):
                del self.state[key]
            self.state.update(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused: only the caller knows which of the two sets the group belongs to."""
        if self._built:
            raise InvalidValue(
                "a new parameter group must belong to one of the two optimizers; call add_param_group on "
                ".weights_optimizer or .activations_optimizer."
            )

    @property
    def _count(self) -> int:
        return int(self.weights_optimizer.param_groups[0].get(_COUNT, 0))

    @_count.setter
    def _count(self, count: int) -> None:
        self.weights_optimizer.param_groups[0][_COUNT] = count

    @property
    def phase(self) -> Literal["weights", "activations"]:
        """Which set the next :meth:`step` moves."""
        unit = self.steps_per_epoch if isinstance(self.steps_per_epoch, int) else 1
        place = self._count // unit % (self.weights_steps + self.activation_steps)
        return "weights" if place < self.weights_steps else "activations"

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Step the set whose turn it is; ``closure`` is passed on and its loss returned."""
        active = self.weights_optimizer if self.phase == "weights" else self.activations_optimizer
        _take_momentum(active)
        loss: float | None = active.step(closure) if closure is not None else active.step()
        if self.steps_per_epoch != "manual":
            self._count += 1
        self._stepped = True
        return loss

    def end_epoch(self) -> None:
        """End an epoch; only with ``by="epoch", steps_per_epoch="manual"``.

        Raises:
            InvalidValue: if epochs are not counted by hand, or no step was made since the last call.
        """
        if self.steps_per_epoch != "manual":
            raise InvalidValue(
                f"end_epoch() is for by='epoch' with steps_per_epoch='manual'; this one has by={self.by!r}, "
                f"steps_per_epoch={self.steps_per_epoch!r} and counts by itself. Leave the call out."
            )
        if not self._stepped:
            raise InvalidValue(
                "an epoch must have at least one step(); end_epoch() was called with none since the last one."
            )
        self._stepped = False
        self._count += 1

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both sets."""
        self.weights_optimizer.zero_grad(set_to_none)
        self.activations_optimizer.zero_grad(set_to_none)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both optimizers and the place in the schedule from :meth:`state_dict`."""
        before, afterwards = load_state_hooks(self)
        for hook in before:
            state_dict = hook(self, state_dict) or state_dict
        groups = state_dict["param_groups"]
        count = len(self.weights_optimizer.param_groups)
        if len(groups) != len(self.param_groups):
            raise InvalidValue(
                f"the state must have as many parameter groups as this optimizer ({len(self.param_groups)}); got "
                f"{len(groups)}. Build both optimizers as they were when it was saved."
            )
        for inner, own in ((self.weights_optimizer, groups[:count]), (self.activations_optimizer, groups[count:])):
            keys = {key for group in own for key in group["params"]}
            state = {key: value for key, value in state_dict["state"].items() if key in keys}
            inner.load_state_dict({"state": state, "param_groups": own})
        self._stepped = True  # whether the saved epoch had begun is unknown: let it end
        for after in afterwards:
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("weights_optimizer", "activations_optimizer", "weights_steps", "activation_steps", "by")
        return {name: self.__dict__[name] for name in (*names, "steps_per_epoch", "defaults", "_stepped", "_built")}

    def __repr__(self) -> str:
        return (
            f"Alternating(by={self.by!r}, phase={self.phase!r},\n  {self.weights_steps} × {self.weights_optimizer!r},\n"
            f"  {self.activation_steps} × {self.activations_optimizer!r})"
        )


def _joined_defaults(weights: Optimizer, activations: Optimizer) -> dict[str, Any]:
    """What schedulers that cycle the momentum read: where they find "betas", they write betas into every group.

    Unless both optimizers have betas, a momentum is cycled, and :func:`_take_momentum` makes a beta of it.
    """
    defaults = dict(weights.defaults)
    if "betas" in weights.defaults and "betas" in activations.defaults:
        return defaults
    defaults.pop("betas", None)
    if any(key in o.defaults for o in (weights, activations) for key in ("momentum", "betas")):
        defaults.setdefault("momentum", 0.0)
    return defaults


def _take_momentum(optimizer: Optimizer) -> None:
    """Let the momentum that a scheduler wrote into groups with betas be their first beta."""
    if "momentum" not in optimizer.defaults:
        for group in optimizer.param_groups:
            if "betas" in group and "momentum" in group:
                group["betas"] = (group["momentum"], *group["betas"][1:])


def _check_sets(weights: object, activations: object) -> None:
    sets: list[set[int]] = []
    for name, optimizer in (("weights_optimizer", weights), ("activations_optimizer", activations)):
        if not isinstance(optimizer, Optimizer):
            raise InvalidValue(f"{name} must be a torch.optim.Optimizer; got {type(optimizer).__name__}.")
        sets.append({id(p) for group in optimizer.param_groups for p in group["params"]})
        if not sets[-1]:
            raise InvalidValue(
                f"{name} must have parameters; it has none, so its phase would do nothing. "
                "bevel.parameter_groups shows what there is to learn."
            )
    shared = len(sets[0] & sets[1])
    if shared:
        raise InvalidValue(
            f"the two optimizers must have different parameters; {shared} are in both. Split them with "
            "bevel.parameter_groups."
        )


def _check_signal(by: str, steps_per_epoch: object) -> None:
    if by not in ("step", "epoch"):
        raise InvalidValue(f"by must be 'step' or 'epoch'; got {by!r}; {did_you_mean(str(by), ('step', 'epoch'))}")
    if by == "step" and steps_per_epoch is not None:
        raise InvalidValue(f"steps_per_epoch is for by='epoch'; got {steps_per_epoch!r} with by='step'. Leave it out.")
    if by == "epoch" and steps_per_epoch is None:
        raise InvalidValue(
            "by='epoch' must know when an epoch ends: give steps_per_epoch= (optimizer steps in one, "
            "len(loader) without gradient accumulation), or 'manual' and call end_epoch() after each."
        )
    if steps_per_epoch not in (None, "manual"):
        check_integer(steps_per_epoch, "steps_per_epoch", 1)
