"""ResNets for small images (He et al. 2016, section 4.2): 3 stages of blocks with 16, 32 and 64 channels.

Shortcuts are the paper's option A: where the shape changes they take every second pixel and fill new channels with
zeros, so that only convolutions, batch norms, activations and the last layer have parameters.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.models import Activation, Model

STAGES = (16, 32, 64)


class _Block(nn.Module):
    """Two convolutions and a shortcut; an activation after the first and one after the sum."""

    def __init__(self, activation: Activation, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.grown = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.act1 = activation(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act2 = activation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.grown:
            half = self.grown // 2
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.grown - half))
        y = self.act1(self.norm1(self.conv1(x)))
        out: Tensor = self.act2(self.norm2(self.conv2(y)) + shortcut)
        return out


def _build(
    blocks: int, activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int
) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, STAGES[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(STAGES[0]),
        activation(STAGES[0]),
    ]
    channels = STAGES[0]
    for width in STAGES:
        for _ in range(blocks):
            layers.append(_Block(activation, channels, width))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


ENTRIES = {
    "resnet8": Model("ResNet-8: one block a stage, 7 convolutions, 0.08 M parameters", partial(_build, 1), min_size=8),
    "resnet20": Model("ResNet-20 as for CIFAR: 19 convolutions, 0.27 M parameters", partial(_build, 3), min_size=8),
}
