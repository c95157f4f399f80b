"""A small vision transformer (Dosovitskiy et al. 2021): DeiT-Tiny's width and heads, six blocks, patches of 8 × 8."""

from __future__ import annotations

from torch import nn

from bevel_lab.models.vit_tiny import ViT

WIDTH, HEADS, BLOCKS, PATCH = 192, 3, 6, 8


def vit(side: int, classes: int = 1000, divide: int = 1) -> nn.Module:
    """Build the network, with ReLU in the place of its GELU; ``divide`` makes it that many times narrower."""
    width = WIDTH // divide // HEADS * HEADS
    return ViT(lambda _: nn.ReLU(), 3, (side, side), classes, patch=PATCH, width=width, depth=BLOCKS, heads=HEADS)
