"""A tiny vision transformer for small images: patches of 4×4, two blocks of width 64, no class token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.models import Activation, Model

PATCH, WIDTH, DEPTH, HEADS = 4, 64, 2, 4


class Attention(nn.Module):
    """Self-attention of several heads, for B×T×C tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inputs(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(0))
        y: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and a feed-forward of four times the width, each behind a norm and beside a shortcut."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.up, self.act, self.down = nn.Linear(WIDTH, 4 * WIDTH), activation(4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        rows = self.second(x).flatten(0, 1)  # a token a row: channels are on axis 1, where every activation takes them
        y: Tensor = self.down(self.act(self.up(rows)))
        return x + y.view_as(x)


class ViT(nn.Module):
    """Patches and their positions, blocks, and the mean of the tokens into logits."""

    def __init__(self, activation: Activation, in_channels: int, tokens: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, WIDTH, PATCH, PATCH)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        self.blocks = nn.Sequential(*(Block(activation) for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        y: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return y


def _build(activation: Activation, in_channels: int, image_size: tuple[int, int], classes: int) -> nn.Module:
    height, width = image_size
    return ViT(activation, in_channels, (height // PATCH) * (width // PATCH), classes)


ENTRIES = {
    "vit_tiny": Model(
        "tiny vision transformer: 4×4 patches, two blocks of width 64", _build, min_size=PATCH, own_init=True
    )
}
