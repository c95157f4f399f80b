"""Reads the state of a trial in progress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevel_lab.training.activations import parameter_values
from bevel_lab.training.trainer import Trainer


class ParameterSets:
    """The weights and the activation parameters of a trial, and which of them changed since the last call."""

    def __init__(self, one: Trainer) -> None:
        own = {id(p) for p in one.activation_parameters}
        self.weights = [p for p in one.model.parameters() if id(p) not in own]
        self.activations = one.activation_parameters
        self.moved()

    def moved(self) -> str:
        """Names of the sets that changed since the last call, joined by \"and\"."""
        now = [[p.detach().clone() for p in part] for part in (self.weights, self.activations)]
        before, self.before = getattr(self, "before", now), now
        names = ("weights", "activations")
        return " and ".join(
            name
            for name, old, new in zip(names, before, now, strict=True)
            if any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        )


def current_sharpness(one: Trainer) -> float:
    """The sharpness n that all sites have."""
    values = {n for call in one.sites.values() for n in parameter_values(call.module)["n"]}
    assert len(values) == 1, "one n for all sites and channels"
    return values.pop()


def training_outputs(one: Trainer, kind: type[nn.Module], samples: int = 25) -> list[Tensor]:
    """The outputs of all modules of ``kind`` in a training step."""
    found: list[Tensor] = []
    for module in one.model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda m, args, out: found.append(out.detach()))
    for batch in one.task.batches([torch.arange(samples)], 0, 0):
        one.step(0, batch, samples)
    return found
