"""A trial's optimizer, its learning rate at every step, and its sharpness schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

import bevel
from bevel.errors import InvalidValue
from bevel_lab.experiment.trial import Trial


def make_optimizer(trial: Trial, model: nn.Module, activation: list[nn.Parameter], steps_per_epoch: int) -> Optimizer:
    """The optimizer of a trial.

    It has three groups of parameters: weights (with weight decay), biases and norms (without), and activation
    parameters (without, at their own learning rate). Every group has a ``scale``, its learning rate as a multiple of
    the trial's. With ``trial.alternate`` the activations have an optimizer of their own, and the two take turns.

    Args:
        trial: the recipe.
        model: the network.
        activation: parameters of its activations.
        steps_per_epoch: number of optimizer steps.

    Raises:
        InvalidValue: if the trial alternates and ``activation`` is empty.
    """
    own = {id(p) for p in activation}
    others = [p for p in model.parameters() if id(p) not in own]
    weights = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": trial.weight_decay, "scale": 1.0},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "scale": 1.0},
    ]
    activations = [{"params": activation, "weight_decay": 0.0, "scale": trial.activation_lr}]
    if not trial.alternate:
        return _make(trial, weights + activations)
    if not activation:
        raise InvalidValue(
            f"alternate must be empty for an activation without learnable parameters, such as {trial.activation!r}; "
            f"got {trial.alternate!r}. Give it to one arm only, such as frelu@alternate=epoch."
        )
    by, *turns = trial.alternate.split(":")
    weights_steps, activation_steps = map(int, turns or (1, 1))
    return bevel.Alternating(
        _make(trial, weights),
        _make(trial, activations),
        weights_steps=weights_steps,
        activation_steps=activation_steps,
        by="epoch" if by == "epoch" else "step",
        steps_per_epoch=steps_per_epoch if by == "epoch" else None,
    )


def _make(trial: Trial, groups: list[dict[str, Any]]) -> Optimizer:
    used = [group for group in groups if group["params"]]
    if trial.optimizer == "sgd":
        return torch.optim.SGD(used, lr=trial.lr, momentum=trial.momentum, fused=True)
    kind = torch.optim.Adam if trial.optimizer == "adam" else torch.optim.AdamW
    return kind(used, lr=trial.lr, fused=True)


def lr_factor(trial: Trial, step: int, steps: int) -> float:
    """Factor of the learning rate at ``step`` of ``steps``: linear to 1 over the warm-up, then the trial's schedule.

    ``cosine`` is half a cosine from 1 to 0. ``inverse_sqrt`` falls from 1 as 1/√(steps since the start) (Vaswani et
    al. 2017). ``constant`` stays 1.

    Example:
        >>> trial = Trial(activation="relu", warmup=0.2)
        >>> [round(lr_factor(trial, step, 10), 2) for step in range(10)]
        [0.5, 1.0, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04]
    """
    warmup = round(trial.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if trial.schedule == "constant":
        return 1.0
    if trial.schedule == "inverse_sqrt":
        return math.sqrt(max(1, warmup) / (step + 1))
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_sharpness_schedule(trial: Trial, model: nn.Module, steps: int) -> bevel.SharpnessSchedule | None:
    """The schedule of the sharpness n over all ``steps`` of the training, or None if the trial has none.

    Raises:
        InvalidValue: if ``trial.sharpness`` holds no two numbers, or the model has no smooth activation.
    """
    if not trial.sharpness:
        return None
    start, end, *shape = trial.sharpness.split(":")
    try:
        first, last = float(start), float(end)
    except ValueError:
        raise InvalidValue(f"sharpness must be two numbers, such as '1:1000'; got {trial.sharpness!r}.") from None
    kind: Any = shape[0] if shape else "geometric"
    return bevel.SharpnessSchedule(model, first, last, steps, kind)
