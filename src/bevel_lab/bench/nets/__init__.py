"""The networks that the benchmarks train, made of torch alone, so that a machine with a GPU needs nothing else.

Each has ReLU; its activations are swapped as a user would swap them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from bevel_lab.bench.nets.densenet import densenet121
from bevel_lab.bench.nets.resnet import resnet
from bevel_lab.bench.nets.shufflenet import shufflenet
from bevel_lab.bench.nets.vit import VisionTransformer

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "ResNet-18": lambda side, divide: resnet(18, divide=divide),
    "ResNet-50": lambda side, divide: resnet(50, divide=divide),
    "DenseNet-121": lambda side, divide: densenet121(divide=divide),
    "ShuffleNet V2": lambda side, divide: shufflenet(divide=divide),
    "ViT": lambda side, divide: VisionTransformer(side, divide=divide),
}
"""By name, what builds a network for images of so many pixels a side, so many times narrower than it should be."""
COMPILED = ("ResNet-18", "ViT")
SPECS = ("relu", "gelu", "sau", "frelu", "smooth_frelu")


def builder(name: str, side: int, divide: int = 1) -> Callable[[], nn.Module]:
    """Return a call that builds the named network."""
    return partial(NETWORKS[name], side, divide)
