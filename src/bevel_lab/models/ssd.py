"""SSD, the single-shot detector (Liu et al. 2016): torchvision's two, and a small one for small machines."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from bevel_lab.models._detector import detector

SMALL_SIDE = 160
_WIDTHS = (16, 32, 64, 96, 128)
_OUT = 3
"""Number of feature maps that find objects, the last ones: 20×20, 10×10 and 5×5."""

_C4 = 13
"""Index of the block of MobileNetV3 Large whose first layer ends torchvision's first feature map."""


class _Backbone(nn.Module):
    """Stages of 3×3 convolutions with batch norm, each at half the resolution; returns the last maps."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = list(_WIDTHS[-_OUT:])  # torchvision reads it
        stages = []
        for inputs, outputs in itertools.pairwise((3, *_WIDTHS)):
            second = _layer(outputs, outputs, 1) if inputs > 3 else []
            stages.append(nn.Sequential(*_layer(inputs, outputs, 2), *second))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for index, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(index)] = x
        return OrderedDict(list(maps.items())[-_OUT:])


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _small(classes: int) -> Any:
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    # sides as fractions of the image's: 13 to 24 pixels on the map of 20×20, up to 96 on that of 5×5
    anchors = DefaultBoxGenerator([[2]] * _OUT, scales=[0.08, 0.18, 0.36, 0.6])
    size = (SMALL_SIDE, SMALL_SIDE)
    # pycocotools takes as long for 200 detections an image as the network needs to find them
    return SSD(_Backbone(), anchors, size, classes, detections_per_img=100)


def _ssd300(classes: int) -> Any:
    from torchvision.models.detection import ssd300_vgg16

    network = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes)
    # conv5 has other names in the classifier VGG-16, whose weights training usually starts from
    network.backbone.pretrained_names = {f"features.{24 + k}.": f"extra.0.{1 + k}." for k in (0, 2, 4)}
    return network


def _ssdlite(classes: int) -> Any:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)
    # the classifier's names of the layers before C4, of C4's first layer, and of the rest of C4; the layers after it
    # are half as wide here as in the classifier, so none of them fits
    names = {f"features.{k}.": f"features.0.{k}." for k in range(_C4)}
    names |= {f"features.{_C4}.block.0.": f"features.0.{_C4}.", f"features.{_C4}.block.": "features.1.0."}
    network.backbone.pretrained_names = names
    return network


ENTRIES = {
    "ssd_small": detector("SSD at 160×160 with nine convolutions, for small machines", _small, side=SMALL_SIDE),
    "ssd300_vgg16": detector("SSD300 with VGG-16", _ssd300, side=300, augmentation="ssd"),
    "ssdlite320_mobilenet_v3": detector(
        "SSDlite at 320×320 with MobileNetV3 Large", _ssdlite, side=320, augmentation="crop"
    ),
}
