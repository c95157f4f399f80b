"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch: torchvision's, with our own seeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevel_lab.runtime.rng import seeded


class Mixer:
    """Mixes every image, and its label, with its neighbor in the batch, whose order is random already.

    A mixer is false if it does nothing.

    Args:
        mixup, cutmix: concentration of the Beta distribution; 0: not done. If both are done, each batch draws one.
        classes: number of classes.
    """

    def __init__(self, mixup: float, cutmix: float, classes: int) -> None:
        self.ways: list[Any] = []
        if mixup or cutmix:
            from torchvision.transforms import v2  # takes seconds, and most trials do not need it
        if mixup:
            self.ways.append(v2.MixUp(alpha=mixup, num_classes=classes))
        if cutmix:
            self.ways.append(v2.CutMix(alpha=cutmix, num_classes=classes))

    def __bool__(self) -> bool:
        return bool(self.ways)

    def __call__(self, images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float32, (B+1)×C×H×W. The first one is only mixed into the second, so that a process with a shard of
                the batch needs one more image.
            labels: int64, B+1.
            seed: what the draws follow from.

        Returns:
            B×C×H×W images, each mixed with the one before it, and float32 B×classes targets.
        """
        with seeded(seed):
            way = self.ways[int(torch.randint(len(self.ways), ()))]
            mixed, targets = way(images, labels)
        return mixed[1:], targets[1:]
