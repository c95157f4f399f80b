"""DeepLabV3 (Chen et al. 2017), torchvision's, without its auxiliary head."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.models import Activation, Model


class _Logits(nn.Module):
    """Returns the logits of a torchvision network, whose result is a dict."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)["out"]
        return logits


def _build(name: str, activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    import torchvision

    if in_channels != 3:
        raise InvalidValue(f"torchvision's DeepLabV3 takes images of 3 channels; got {in_channels}.")
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    # the layers of the backbone have other names in a MobileNet's weight file; see bevel_lab.models._pretrained
    vars(network.backbone)["pretrained_names"] = {"features.": ""}
    # swapped before it is wrapped, so that the names in weight files fit
    return _Logits(activation.swap(network, torch.zeros(2, in_channels, *image_size)))


def _deeplab(summary: str, name: str) -> Model:
    return Model(summary, partial(_build, name), "segmentation", min_size=32)


ENTRIES = {
    "deeplabv3_resnet50": _deeplab("DeepLabV3 on ResNet-50 (torchvision), 40 M parameters", "deeplabv3_resnet50"),
    "deeplabv3_mobilenet_v3": _deeplab(
        "DeepLabV3 on MobileNetV3-Large (torchvision), 11 M parameters", "deeplabv3_mobilenet_v3_large"
    ),
}
