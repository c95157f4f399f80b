"""Activation parameters as their own optimizer group."""

from __future__ import annotations

from typing import Any

from torch import nn

from bevel.nn import ACTIVATIONS
from bevel.nn._base import LearnableModule


def activation_kinds() -> tuple[type[nn.Module], ...]:
    """The module classes that are activations: bevel's own, and every class in ``bevel.ACTIVATIONS``."""
    factories = (ACTIVATIONS[name].factory for name in ACTIVATIONS)
    return (LearnableModule, *(f for f in factories if isinstance(f, type) and f is not nn.Identity))


def activation_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of activations by qualified name: bevel's modules, PReLU, and classes in ``bevel.ACTIVATIONS``."""
    kinds = activation_kinds()
    ours = {id(p) for m in model.modules() if isinstance(m, kinds) for p in m.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) in ours}


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, *, activation_lr: float | None = None
) -> list[dict[str, Any]]:
    """Two parameter groups for an optimizer: all else (decayed), and the activations' parameters (never decayed).

    Weight decay pulls a slope towards 0 as if a linear unit were the aim. Parameters that do not require a gradient
    are left out. The second group is empty when the activations have nothing to learn; optimizers accept that.

    Args:
        model: any model, bare or wrapped.
        lr, weight_decay: for the first group.
        activation_lr: for the second; the same as ``lr`` by default.

    Returns:
        ``[{"name": "weights", …}, {"name": "activations", …}]``.
    """
    learnt = [p for p in model.parameters() if p.requires_grad]
    ours = {id(p) for p in activation_parameters(model).values()}
    weights = [p for p in learnt if id(p) not in ours]
    slopes = [p for p in learnt if id(p) in ours]
    return [
        {"name": "weights", "params": weights, "lr": lr, "weight_decay": weight_decay},
        {
            "name": "activations",
            "params": slopes,
            "lr": lr if activation_lr is None else activation_lr,
            "weight_decay": 0.0,
        },
    ]
