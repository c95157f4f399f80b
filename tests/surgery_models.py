"""Small models that spell their activations in every way."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """A function, a method, one module at two widths, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.one(x)))
        x = self.act(self.two(x))
        x = F.relu(self.three(x) + x)
        return self.head(x.mean((2, 3))).relu_()


class Leaky(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3, 6), nn.Linear(6, 6)
        self.prelu = nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.out(F.leaky_relu(self.fc(x), negative_slope=0.2)))


class RunsIn(nn.Module):
    """A forward given as a function."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
