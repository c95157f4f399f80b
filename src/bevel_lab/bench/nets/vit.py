"""A small vision transformer (Dosovitskiy et al. 2021): DeiT-Tiny's width and heads, six blocks, patches of 8 × 8.

It is not the lab's ``vit_tiny``, made larger: that flattens the tokens before its activation, whose channels then lie
on axis 1. Compiled, such a network with ReLU keeps other bytes (29.3 MB for 31.7); this one is written as most are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, BLOCKS, PATCH = 192, 3, 6, 8


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind its norm and beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(self.before_attention(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.merge(found.transpose(1, 2).flatten(2))
        out: Tensor = x + self.layers(self.before_layers(x))
        return out


class VisionTransformer(nn.Module):
    """Patches and their places, the blocks, and the mean over all patches; with ReLU in the place of its GELU.

    Args:
        side: pixels of an image's side.
        classes: size of the output.
        divide: how many times narrower it is, for a rehearsal.
    """

    def __init__(self, side: int, classes: int = 1000, divide: int = 1) -> None:
        super().__init__()
        width = WIDTH // divide // HEADS * HEADS
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.places = nn.Parameter(0.02 * torch.randn((side // PATCH) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return out
