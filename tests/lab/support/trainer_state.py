"""Looks into a trial in progress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bevel_lab.training.activations import parameter_values
from bevel_lab.training.trainer import Trainer


class Sets:
    """The two sets of parameters of a trial in progress, and which of them moved since one last looked."""

    def __init__(self, one: Trainer) -> None:
        own = {id(p) for p in one.activation_parameters}
        self.weights = [p for p in one.model.parameters() if id(p) not in own]
        self.slopes = one.activation_parameters
        self.moved()

    def moved(self) -> str:
        now = [[p.detach().clone() for p in part] for part in (self.weights, self.slopes)]
        before, self.before = getattr(self, "before", now), now
        names = ("weights", "activations")
        return " and ".join(
            name
            for name, old, new in zip(names, before, now, strict=True)
            if any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        )


def sharpness(one: Trainer) -> float:
    """The n that all sites have."""
    values = {n for call in one.sites.values() for n in parameter_values(call.module)["n"]}
    assert len(values) == 1, "one n for all sites and channels"
    return values.pop()


def outputs(one: Trainer, kind: type[nn.Module], samples: int = 25) -> list[Tensor]:
    """What comes out of the modules of ``kind`` in a training step."""
    found: list[Tensor] = []
    for module in one.model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda m, args, out: found.append(out.detach()))
    for batch in one.task.batches([torch.arange(samples)], 0, 0):
        one.step(0, batch, samples)
    return found
