"""One model with every activation that bevel computes, so that a test of all costs as much as a test of one."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
import bevel.surgery

RANDOM = {"erelu"}
"""What draws at every call in training; tests/test_relatives.py runs it, repeats it and exports its evaluation form."""
OWNED = [name for name in bevel.ACTIVATIONS if bevel.ACTIVATIONS[name].owned and name not in RANDOM]
SMOOTH = [name for name in OWNED if name != "frelu"]
CHANNELS = 4


class Zoo(nn.Module):
    """A chain with skips of a linear layer and an activation for each name; it takes and returns (N, 4)."""

    def __init__(self, names: list[str] = OWNED) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(CHANNELS, CHANNELS) for _ in names)
        self.activations = nn.ModuleDict({name: bevel.create(name, CHANNELS) for name in names})

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.layers, self.activations.values(), strict=True):
            x = x + 0.3 * activation(layer(x))
        return x


def zoo(names: list[str] = OWNED) -> Zoo:
    """Return the model with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Zoo(names)


class Swapped(nn.Module):
    """All that a swap can leave behind: a module at two widths (one per call), a function and a method (routed)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(CHANNELS, 6), nn.Linear(6, CHANNELS), nn.Linear(CHANNELS, 6)
        self.act = nn.ReLU()
        self.out = nn.Linear(6, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.two(self.act(self.one(x))))
        return x + self.out(F.relu(self.three(x))).relu()


def swapped(dtype: torch.dtype = torch.float32) -> bevel.surgery.Result:
    """Swap SmoothFReLU in; the weights are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return bevel.swap(Swapped().to(dtype), "smooth_frelu", inputs(2, CHANNELS).to(dtype), preserve=False)


def perturbed(name: str) -> nn.Module:
    """Make an activation whose per-channel parameters all differ, so that nothing broadcasts by luck."""
    module = copy.deepcopy(bevel.create(name, CHANNELS))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.linspace(0.0, 0.2, CHANNELS))
    return module


def inputs(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, spread over flat ends and knots."""
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
