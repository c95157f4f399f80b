"""A small float64 network from points to numbers, whose derivatives by the point are learned from."""

from __future__ import annotations

import torch
from torch import nn

from bevel_lab.models import Activation, Model

WIDTH = 32


def _build(activation: Activation, dimensions: int) -> nn.Module:
    network = nn.Sequential(
        nn.Linear(dimensions, WIDTH), activation(WIDTH), nn.Linear(WIDTH, WIDTH), activation(WIDTH), nn.Linear(WIDTH, 1)
    )
    return network.to(torch.float64)  # relative errors of 1e-5 and their second derivatives are beyond float32


# Torch's own initial weights have biases, which spread the kinks of the first layer over the box; He's have none.
ENTRIES = {"pde_mlp": Model(f"float64 perceptron, two hidden layers of {WIDTH}", _build, "pde", own_init=True)}
