"""Activation parameters as their own optimizer group."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bevel._checks import check_positive
from bevel.nn import ACTIVATIONS
from bevel.nn._base import LearnableModule


def activation_kinds() -> tuple[type[nn.Module], ...]:
    """List the module classes that are activations: bevel's own, and every class in ``bevel.ACTIVATIONS`` but Identity.

    Returns:
        The classes, for ``isinstance``.

    Example:
        >>> import torch, bevel
        >>> isinstance(bevel.SAU(), bevel.training.activation_kinds())
        True
    """
    factories = (ACTIVATIONS[name].factory for name in ACTIVATIONS)
    return (LearnableModule, *(f for f in factories if isinstance(f, type) and f is not nn.Identity))


def activation_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Find the parameters of activations: of bevel's modules, PReLU, and classes in ``bevel.ACTIVATIONS``.

    Args:
        model: any model, bare or wrapped.

    Returns:
        The parameters by qualified name.

    Example:
        >>> import torch, bevel
        >>> list(bevel.training.activation_parameters(torch.nn.Sequential(bevel.FReLU(2), torch.nn.Linear(2, 2))))
        ['0.positive', '0.negative']
    """
    kinds = activation_kinds()
    ours = {id(p) for m in model.modules() if isinstance(m, kinds) for p in m.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) in ours}


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, *, activation_lr: float | None = None
) -> list[dict[str, Any]]:
    """Make two parameter groups for an optimizer: the weights (decayed) and the activations' (never decayed).

    Weight decay pulls a slope towards 0, as if a dead unit were the aim. Parameters that do not require a gradient
    are left out. The second group is empty when the activations have nothing to learn; optimizers accept that.

    Args:
        model: any model, bare or wrapped.
        lr: learning rate of the weights.
        weight_decay: of the weights; default 0.
        activation_lr: learning rate of the activations' parameters; default ``lr``.

    Returns:
        ``[{"name": "weights", …}, {"name": "activations", …}]``.

    Raises:
        InvalidValue: for a learning rate or decay that is negative or not finite.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), bevel.FReLU(8))
        >>> groups = bevel.parameter_groups(model, lr=0.1, weight_decay=5e-4, activation_lr=0.01)
        >>> [(g["name"], len(g["params"]), g["weight_decay"]) for g in groups]
        [('weights', 2, 0.0005), ('activations', 2, 0.0)]
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)
    """
    for value, name in ((lr, "lr"), (weight_decay, "weight_decay"), (activation_lr, "activation_lr")):
        if value is not None and not isinstance(value, Tensor):  # torch's optimizers take a tensor for lr
            check_positive(value, name, zero=True)
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
