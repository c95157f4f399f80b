"""RandAugment (Cubuk, Zoph, Shlens, Le 2020) on a batch: every image gets its own operations.

The operations and their strengths are torchvision's (``v2.RandAugment()``: magnitude 9 of 30, nearest neighbor), by its
public functions. Its own class draws from the global generator and applies one operation to a whole batch; here each
operation is applied to all images of the batch that drew it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

MAGNITUDE = 9 / 30
"""Strength of every operation as a fraction of its range; torchvision's default."""


def draw(operations: int, count: int, generator: torch.Generator) -> Tensor:
    """The random numbers that :func:`rand_augment` needs: operations×2×count, on the CPU."""
    return torch.rand(operations, 2, count, generator=generator)


def rand_augment(images: Tensor, draws: Tensor) -> Tensor:
    """Apply ``len(draws)`` random operations to every image, one after another.

    Args:
        images: uint8, B×C×H×W with 1 or 3 channels; not changed.
        draws: from :func:`draw`, one column an image.

    Returns:
        uint8, B×C×H×W.
    """
    images = images.clone()
    for choice, side in draws:
        # two slots an operation, for its signs + and −; an operation without a sign is the same in both
        slot = (choice * len(OPERATIONS)).long() * 2 + (side <= 0.5)
        for number in slot.unique().tolist():
            members = (slot == number).nonzero().flatten().to(images.device)
            done = OPERATIONS[number // 2](images[members], -1.0 if number % 2 else 1.0)
            images.index_copy_(0, members, done)
    return images


def _shear(images: Tensor, sign: float, axis: int) -> Tensor:
    shear = [0.0, 0.0]
    shear[axis] = math.degrees(math.atan(sign * 0.3 * MAGNITUDE))
    done: Tensor = F.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0])
    return done


def _translate(images: Tensor, sign: float, axis: int) -> Tensor:
    translate = [0, 0]
    translate[axis] = int(sign * MAGNITUDE * 150 / 331 * images.shape[-1 - axis])
    done: Tensor = F.affine(images, angle=0.0, translate=translate, scale=1.0, shear=[0.0, 0.0])
    return done


def _adjusted(change: Callable[[Tensor, float], Tensor], images: Tensor, sign: float) -> Tensor:
    return change(images, 1 + sign * 0.9 * MAGNITUDE)


OPERATIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda images, sign: images,
    partial(_shear, axis=0),
    partial(_shear, axis=1),
    partial(_translate, axis=0),
    partial(_translate, axis=1),
    lambda images, sign: F.rotate(images, angle=sign * 30 * MAGNITUDE),
    partial(_adjusted, F.adjust_brightness),
    partial(_adjusted, F.adjust_saturation),
    partial(_adjusted, F.adjust_contrast),
    partial(_adjusted, F.adjust_sharpness),
    lambda images, sign: F.posterize(images, bits=8 - round(4 * MAGNITUDE)),
    lambda images, sign: F.solarize(images, threshold=255 * (1 - MAGNITUDE)),
    lambda images, sign: F.autocontrast(images),
    lambda images, sign: F.equalize(images),
)
"""(images, sign) → images, in torchvision's order."""
