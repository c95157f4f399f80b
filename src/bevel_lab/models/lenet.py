"""LeNet-5 (LeCun et al. 1998) with max pooling, without normalization.

Both convolutions are padded, so that 8×8 digits fit as well as the original's 28×28 (padded to 32×32). Of 28×28 pixels
7×7 reach the linear layers, where the original has 5×5: 107,786 parameters instead of 61,706.
"""

from __future__ import annotations

from torch import nn

from bevel_lab.models import Activation, Model


def _build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    height, width = image_size[0] // 4, image_size[1] // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2),
        activation(6),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=2),
        activation(16),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * height * width, 120),
        activation(120),
        nn.Linear(120, 84),
        activation(84),
        nn.Linear(84, classes),
    )


ENTRIES = {"lenet": Model("LeNet-5: two 5×5 convolutions, three linear layers, no normalization", _build, min_size=4)}
