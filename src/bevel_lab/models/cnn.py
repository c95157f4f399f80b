"""A small modern convolutional network: 3×3 convolutions, batch norm, global average pooling."""

from __future__ import annotations

from torch import nn

from bevel_lab.models import Activation, Model

WIDTHS = (16, 32, 64)


def _block(activation: Activation, inputs: int, outputs: int) -> list[nn.Module]:
    # no bias: the batch norm that follows would subtract it
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), activation(outputs)]


def _build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    first, second, third = WIDTHS
    return nn.Sequential(
        *_block(activation, in_channels, first),
        *_block(activation, first, second),
        nn.MaxPool2d(2),
        *_block(activation, second, third),
        nn.MaxPool2d(2),
        *_block(activation, third, third),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(third, classes),
    )


ENTRIES = {"cnn": Model("small network of four 3×3 convolutions with batch norm", _build, min_size=4)}
