"""TSM on ResNets: torchvision's, and a tiny one; and TSN, the same without the shift, which cannot read time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from bevel_lab.models import Activation, Model
from bevel_lab.models._library import fit
from bevel_lab.models._tsm import over_frames

WIDTHS = (16, 32, 64)
Make = Callable[[int, tuple[int, int], int], nn.Module]
"""(channels, image size, classes) → a ResNet for frames."""


def _resnet(depth: int, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    from torchvision.models import get_model

    network: nn.Module = get_model(f"resnet{depth}", weights=None, num_classes=classes)
    fit(network, channels, size)
    return network


def _tiny(channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    """One block a stage; every stage, the stem too, halves the frame."""
    from torchvision.models.resnet import BasicBlock

    first = WIDTHS[0]
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, first, 3, stride=2, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(first),
        "relu": nn.ReLU(),
    }
    inputs = first
    for stage, width in enumerate(WIDTHS, 1):
        stride = 1 if width == inputs else 2
        shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        layers[f"layer{stage}"] = BasicBlock(inputs, width, stride, None if stride == 1 else shortcut)
        inputs = width
    return nn.Sequential(OrderedDict(layers, avgpool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(inputs, classes)))


def _build(
    make: Make, shifted: bool,
    activation: Activation, channels: int, frames: int, size: tuple[int, int], classes: int,
) -> nn.Module:  # fmt: skip
    model = over_frames(make(channels, size, classes), frames, shifted)
    return activation.swap(model, torch.zeros(2, frames, channels, *size))


def _entries(name: str, title: str, make: Make) -> dict[str, Model]:
    tsm = Model(f"TSM: {title} with temporal shifts", partial(_build, make, True), task="video", min_size=8)
    tsn = Model(f"TSN: {title} on every frame, blind to order", partial(_build, make, False), task="video", min_size=8)
    return {f"tsm_{name}": tsm, f"tsn_{name}": tsn}


ENTRIES = {
    **_entries("resnet18", "ResNet-18", partial(_resnet, 18)),
    **_entries("resnet50", "ResNet-50", partial(_resnet, 50)),
    **_entries("tiny", "a ResNet of three blocks with 16, 32 and 64 channels", _tiny),
}
