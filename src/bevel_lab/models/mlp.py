"""A multi-layer perceptron with two hidden layers: linear maps and the activation only."""

from __future__ import annotations

from torch import nn

from bevel_lab.models import Activation, Model

WIDTH = 128


def _build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    inputs = in_channels * image_size[0] * image_size[1]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, WIDTH),
        activation(WIDTH),
        nn.Linear(WIDTH, WIDTH),
        activation(WIDTH),
        nn.Linear(WIDTH, classes),
    )


ENTRIES = {"mlp": Model(f"multi-layer perceptron, two hidden layers of {WIDTH}", _build)}
