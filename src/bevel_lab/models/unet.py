"""U-Net (Ronneberger et al. 2015) with padded convolutions, so that a mask has the size of its image.

It has the original's four poolings, widths and up-convolutions, without its dropout. ``unet`` has no normalization, as
the original; ``unet_bn`` has a batch norm after every 3×3 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.models import Activation, Model

ORIGINAL = (64, 128, 256, 512, 1024)


def _block(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    """Two 3×3 convolutions, each with a ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        # no bias before a batch norm, which would subtract it
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """B×C×H×W images → B×classes×H×W logits, of any size that survives the poolings.

    Args:
        in_channels: C.
        classes: number of classes.
        widths: channels of every level, from the top.
        norm: whether batch norms follow the 3×3 convolutions.
    """

    def __init__(self, in_channels: int, classes: int, widths: Sequence[int], norm: bool) -> None:
        super().__init__()
        pairs = list(zip((in_channels, *widths), widths, strict=False))
        self.down = nn.ModuleList([_block(inputs, outputs, norm) for inputs, outputs in pairs])
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList([nn.ConvTranspose2d(inputs, outputs, 2, stride=2) for inputs, outputs in steps])
        self.up = nn.ModuleList([_block(2 * outputs, outputs, norm) for _, outputs in steps])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for rise, block, skip in zip(self.rise, self.up, seen[-2::-1], strict=True):
            x = rise(x)
            # pooling an odd side loses its last row
            x = F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]))
            x = block(torch.cat([skip, x], 1))
        logits: Tensor = self.head(x)
        return logits


def _build(
    widths: Sequence[int], norm: bool, activation: Activation, in_channels: int, size: tuple[int, int], classes: int
) -> nn.Module:
    # call sites do not depend on the size; at this one the example costs nothing
    example = torch.zeros(2, in_channels, 2 ** len(widths), 2 ** len(widths))
    return activation.swap(UNet(in_channels, classes, widths, norm), example)


def _unet(summary: str, widths: Sequence[int], norm: bool) -> Model:
    return Model(summary, partial(_build, widths, norm), "segmentation", min_size=2 ** (len(widths) - 1))


ENTRIES = {
    "unet": _unet("U-Net as in the paper, padded: 23 convolutions, no normalization, 31 M parameters", ORIGINAL, False),
    "unet_bn": _unet("U-Net with batch norm, 31 M parameters", ORIGINAL, True),
    "unet_small": _unet(
        "U-Net with batch norm, four levels of 8 to 64 channels, 0.1 M parameters", (8, 16, 32, 64), True
    ),
}
