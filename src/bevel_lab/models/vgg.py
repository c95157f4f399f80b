"""VGG with batch norm (Simonyan and Zisserman 2015), torchvision's layers.

For small images it is the usual network on CIFAR: five poolings if the image allows, one pixel left, and one linear
layer; the original's three layers would have 120 M parameters for 49 copies of that pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from bevel_lab.models import Model
from bevel_lab.models._library import SMALL, library


def _vgg(depth: int, configuration: str) -> Model:
    def make(in_channels: int, size: tuple[int, int], classes: int) -> Any:
        from torchvision.models import vgg

        if min(size) > SMALL:
            return getattr(vgg, f"vgg{depth}_bn")(num_classes=classes)
        features = vgg.make_layers(vgg.cfgs[configuration], batch_norm=True)
        head = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "classifier": nn.Linear(512, classes)}
        return nn.Sequential(OrderedDict(features=features, **head))

    return library(f"VGG-{depth} with batch norm", make, least=1)


ENTRIES = {"vgg11_bn": _vgg(11, "A"), "vgg16_bn": _vgg(16, "D")}
