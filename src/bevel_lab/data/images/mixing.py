"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch: torchvision's, with draws of our own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevel_lab.runtime.rng import seeded


class Mixer:
    """Mixes every image, and its label, with its neighbour in the batch. The order is random already.

    Args:
        mixup, cutmix: concentration of the Beta law, 0: not done. Where both are, each batch draws which of them.
        classes: number of classes.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        self.ways: list[Any] = []
        if mixup or cutmix:
            from torchvision.transforms import v2  # takes seconds; most trials need none of it
        if mixup:
            self.ways.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix:
            self.ways.append(v2.CutMix(alpha=cutmix, num_classes=classes))

    def __bool__(self) -> bool:
        return bool(self.ways)

    def __call__(self, images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """All but the first image, each mixed with the one before it, and float32 B×classes targets.

        The first is there for the second; so a process that has a part of the batch needs one image more, and no other.
        """
        with seeded(seed):
            way = self.ways[int(torch.randint(len(self.ways), ()))]
            mixed, targets = way(images, labels)
        return mixed[1:], targets[1:]
