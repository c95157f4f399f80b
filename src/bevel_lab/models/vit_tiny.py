"""A tiny vision transformer for small images: patches of 4×4, four blocks of width 64, no class token."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.models import Model

PATCH, WIDTH, DEPTH, HEADS = 4, 64, 4, 4


class Attention(nn.Module):
    """Self-attention of several heads, for B×T×C tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(0))
        y: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and a feed-forward of four times the width, each behind a norm and beside a shortcut."""

    def __init__(self, activation: Callable[[int], nn.Module], width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), activation(4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        rows = self.second(x).flatten(0, 1)  # a token a row: channels are on axis 1, where every activation takes them
        y: Tensor = self.down(self.act(self.up(rows)))
        return x + y.view_as(x)


class ViT(nn.Module):
    """Patches and their positions, blocks, and the mean of the tokens into logits.

    Args:
        activation: makes the activation of a block for so many channels.
        in_channels, image_size, classes: of the images, and of the output.
        patch, width, depth, heads: of the network.
    """

    def __init__(
        self,
        activation: Callable[[int], nn.Module],
        in_channels: int,
        image_size: tuple[int, int],
        classes: int,
        *,
        patch: int = PATCH,
        width: int = WIDTH,
        depth: int = DEPTH,
        heads: int = HEADS,
    ) -> None:
        super().__init__()
        tokens = (image_size[0] // patch) * (image_size[1] // patch)
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.blocks = nn.Sequential(*(Block(activation, width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        y: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return y


ENTRIES = {
    "vit_tiny": Model(
        "tiny vision transformer: 4×4 patches, four blocks of width 64", ViT, min_size=PATCH, own_init=True
    )
}
