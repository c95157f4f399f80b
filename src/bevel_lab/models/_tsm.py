"""The temporal shift module (Lin, Gan, Han 2019): a network of pictures that reads time at no cost.

Run on every frame of a clip, and the logits averaged, such a network is TSN (Wang et al. 2016), which cannot tell a
clip from its reverse. TSM moves an eighth of the channels one frame ahead and an eighth one back where a residual
branch begins, so that its convolution sees three frames while the shortcut keeps the present one.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARE = 8
"""One channel in so many goes each way."""


def shift(x: Tensor, frames: int) -> Tensor:
    """Move the first eighth of the channels one frame back in time, the second one ahead; zeros enter.

    Args:
        x: (clips·frames)×C×H×W, the frames of a clip in order.
        frames: of every clip.
    """
    clips = x.view(-1, frames, *x.shape[1:])
    count = max(1, x.shape[1] // SHARE)
    coming, past, still = clips[:, 1:, :count], clips[:, :-1, count : 2 * count], clips[:, :, 2 * count :]
    coming, past = F.pad(coming, (0,) * 7 + (1,)), F.pad(past, (0,) * 6 + (1, 0))
    return torch.cat([coming, past, still], 2).flatten(0, 1)


class ShiftedConv2d(nn.Conv2d):
    """A convolution of shifted channels; its parameters are ``conv``'s own, so weight files fit."""

    def __init__(self, conv: nn.Conv2d, frames: int) -> None:
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, device="meta")  # type: ignore[arg-type]
        self.__dict__.update(conv.__dict__)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(shift(x, self.frames))


class OverFrames(nn.Sequential):
    """A network of pictures, its children in order, on every frame: B×T×C×H×W → B×classes, mean over the frames."""

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1)
        for part in self:
            x = part(x)
        return x.view(*clips.shape[:2], -1).mean(1)


def over_frames(network: nn.Module, frames: int, shifted: bool) -> nn.Module:
    """TSM (or, not ``shifted``, TSN) of a ResNet of torchvision; parameter names stay, so its weight files fit.

    Args:
        network: a ResNet whose children, run in order, are its forward pass, but for flattening before ``fc``; taken
            apart.
        frames: of every clip.
        shifted: whether to shift where every residual branch begins.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for block in [m for m in network.modules() if shifted and isinstance(m, BasicBlock | Bottleneck)]:
        block.conv1 = ShiftedConv2d(block.conv1, frames)
    children = OrderedDict(network.named_children())
    head = children.popitem()
    return OverFrames(OrderedDict([*children.items(), ("flatten", nn.Flatten()), head]))
