"""R(2+1)D (Tran et al. 2018), torchvision's: alternating convolutions in space and in time."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from bevel_lab.models import Activation, Model
from bevel_lab.models._library import SMALL


class _OfClips(nn.Sequential):
    """Runs torchvision's parts in order on B×T×C×H×W."""

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.transpose(1, 2)
        for part in self:
            x = part(x)
        return x


def _build(activation: Activation, channels: int, frames: int, size: tuple[int, int], classes: int) -> nn.Module:
    from torchvision.models.video import r2plus1d_18

    network = r2plus1d_18(weights=None, num_classes=classes)
    children = OrderedDict(network.named_children())
    first = network.stem[0]
    if min(size) <= SMALL:  # the small-image stem, as for networks of images
        network.stem[0] = nn.Conv3d(channels, first.out_channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
    elif channels != first.in_channels:
        network.stem[0] = nn.Conv3d(channels, first.out_channels, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    head = children.popitem()
    model = _OfClips(OrderedDict([*children.items(), ("flatten", nn.Flatten()), head]))
    return activation.swap(model, torch.zeros(2, frames, channels, *size))


ENTRIES = {"r2plus1d_18": Model("R(2+1)D-18: convolutions in space and time", _build, task="video", min_size=8)}
