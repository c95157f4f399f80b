"""U-Net on a ResNet-18, of segmentation-models-pytorch; its encoder takes torchvision's classifier weights."""

from __future__ import annotations

import torch
from torch import nn

from bevel_lab.errors import optional_library
from bevel_lab.models import Activation, Model


def _build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    with optional_library("this U-Net is segmentation-models-pytorch's"):
        from segmentation_models_pytorch import Unet
    network = Unet("resnet18", encoder_weights=None, in_channels=in_channels, classes=classes)
    return activation.swap(network, torch.zeros(2, in_channels, *image_size))


ENTRIES = {
    "unet_resnet18": Model(
        "U-Net on a ResNet-18 (segmentation-models-pytorch), 14 M parameters", _build, "segmentation", min_size=32
    )
}
