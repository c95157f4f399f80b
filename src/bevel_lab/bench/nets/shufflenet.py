"""ShuffleNet V2, 1× (Ma et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ((116, 4), (232, 8), (464, 4))
LAST = 1024


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [convolution, nn.BatchNorm2d(channels)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Unit(nn.Module):
    """Half of the channels go past the convolutions, or, with stride 2, all of them through two branches."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        entering = half if stride == 1 else inputs
        self.past: nn.Module | None = None
        if stride == 2:
            self.past = nn.Sequential(*_depthwise(inputs, 2), *_pointwise(inputs, half))
        through = [*_pointwise(entering, half), *_depthwise(half, stride), *_pointwise(half, half)]
        self.through = nn.Sequential(*through)

    def forward(self, x: Tensor) -> Tensor:
        if self.past is None:
            past, entering = x.chunk(2, 1)
            both = torch.cat([past, self.through(entering)], 1)
        else:
            both = torch.cat([self.past(x), self.through(x)], 1)
        return nn.functional.channel_shuffle(both, 2)


def shufflenet(classes: int = 1000, divide: int = 1) -> nn.Sequential:
    """Build the network; ``divide`` makes every layer that many times narrower, for a rehearsal."""
    channels = 24 // divide
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 3, 2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    for width, units in STAGES:
        for unit in range(units):
            outputs = width // divide // 2 * 2
            layers.append(Unit(channels, outputs, 1 if unit else 2))
            channels = outputs
    layers += _pointwise(channels, LAST // divide)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(LAST // divide, classes))
