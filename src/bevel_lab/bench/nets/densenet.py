"""DenseNet-121 (Huang et al. 2017), growth 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = (6, 12, 24, 16)


class Layer(nn.Module):
    """Batch norm, ReLU and a convolution, 1 × 1 and then 3 × 3; the result is appended to the input's channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet121(classes: int = 1000, divide: int = 1) -> nn.Sequential:
    """Build the network; ``divide`` makes every layer that many times narrower, for a rehearsal."""
    growth, channels = 32 // divide, 64 // divide
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    for number, block in enumerate(BLOCKS):
        for _ in range(block):
            layers.append(Layer(channels, growth))
            channels += growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        if number < len(BLOCKS) - 1:  # a transition to the next block
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
