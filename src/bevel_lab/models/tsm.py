"""TSM, the temporal shift module (Lin, Gan, Han 2019), on ResNets: a network of images that reads time at no cost.

A network of images that runs on every frame of a clip and averages the logits is TSN (Wang et al. 2016), which cannot
tell a clip from its reverse. TSM moves an eighth of the channels one frame ahead and an eighth one frame back where a
residual branch begins, so that its convolution sees three frames while the shortcut keeps the present one.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.models import Activation, Model
from bevel_lab.models._library import Make, fit

SHIFTED = 8
"""One channel in so many moves in each direction."""
WIDTHS = (16, 32, 64)
"""Channels of the stages of the tiny ResNet."""


def shift(x: Tensor, frames: int) -> Tensor:
    """Move the first eighth of the channels one frame back in time and the second one ahead; zeros enter.

    Args:
        x: (clips·frames)×C×H×W, the frames of a clip in order.
        frames: number of frames of every clip.
    """
    clips = x.view(-1, frames, *x.shape[1:])
    count = max(1, x.shape[1] // SHIFTED)
    coming, past, still = clips[:, 1:, :count], clips[:, :-1, count : 2 * count], clips[:, :, 2 * count :]
    coming, past = F.pad(coming, (0,) * 7 + (1,)), F.pad(past, (0,) * 6 + (1, 0))
    return torch.cat([coming, past, still], 2).flatten(0, 1)


class ShiftedConv2d(nn.Conv2d):
    """A convolution of shifted channels; its parameters are those of ``conv``, so weight files fit."""

    def __init__(self, conv: nn.Conv2d, frames: int) -> None:
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, device="meta")  # type: ignore[arg-type]
        self.__dict__.update(conv.__dict__)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(shift(x, self.frames))


class OverFrames(nn.Sequential):
    """Runs its children in order on every frame and averages over the frames: B×T×C×H×W → B×classes."""

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1)
        for part in self:
            x = part(x)
        return x.view(*clips.shape[:2], -1).mean(1)


def over_frames(network: nn.Module, frames: int, shifted: bool) -> nn.Module:
    """Make TSM (or, if not ``shifted``, TSN) of a ResNet; parameter names stay, so its weight files fit.

    Args:
        network: a ResNet of torchvision's blocks whose children in order are its forward pass, but for flattening
            before ``fc``. It is taken apart.
        frames: number of frames of every clip.
        shifted: whether to shift where every residual branch begins.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for block in [m for m in network.modules() if shifted and isinstance(m, BasicBlock | Bottleneck)]:
        block.conv1 = ShiftedConv2d(block.conv1, frames)
    children = OrderedDict(network.named_children())
    head = children.popitem()
    return OverFrames(OrderedDict([*children.items(), ("flatten", nn.Flatten()), head]))


def _resnet(depth: int, channels: int, size: tuple[int, int], classes: int) -> Any:
    from torchvision.models import get_model

    network = get_model(f"resnet{depth}", weights=None, num_classes=classes)
    fit(network, channels, size)
    return network


def _tiny(channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    """One block a stage; the stem and every later stage halve the frame."""
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
