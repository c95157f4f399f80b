"""Wide ResNets (Zagoruyko and Komodakis 2016): three stages of (depth − 4)/6 pre-activation blocks, width × 16·2^i.

Without dropout, as in most of the paper's tables. The blocks are timm's.
"""

from __future__ import annotations

from torch import nn

from bevel_lab.models import Model
from bevel_lab.models._library import library


def _wide(depth: int, width: int) -> Model:
    def make(in_channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        from timm.layers.create_conv2d import create_conv2d
        from timm.layers.norm_act import BatchNormAct2d
        from timm.models.resnetv2 import ResNetV2

        model: nn.Module = ResNetV2(
            layers=[(depth - 4) // 6] * 3,
            channels=(16 * width, 32 * width, 64 * width),
            stem_chs=16,
            in_chans=in_channels,
            num_classes=classes,
            basic=True,
            bottle_ratio=1.0,
            conv_layer=create_conv2d,
            norm_layer=BatchNormAct2d,
        )
        return model

    return library(f"Wide ResNet-{depth}-{width}", make)


ENTRIES = {"wide_resnet28_10": _wide(28, 10), "wide_resnet16_4": _wide(16, 4)}
