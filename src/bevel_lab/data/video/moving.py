"""Moving images: clips whose class follows from the order of their frames and from nothing else.

An image drifts by a constant step in one of four directions, and shakes along the other axis: there it takes the same
steps in a random order. Its places are start + step·(i, σ(i)), i = 0 … T − 1, with a random permutation σ; the class is
which of the two coordinates is in order, and whether it rises or falls. The set of places has the same distribution for
all four classes: frames in no order reveal nothing, not even the axis, which a plain drift would reveal. The canvas is
a torus and the start is uniform on it, so that every single frame is uniform, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bevel_lab.data.facts import digest, facts
from bevel_lab.data.images import LabeledImages
from bevel_lab.data.video import Clips, Split
from bevel_lab.runtime.rng import SHARED, generator

DIRECTIONS = ("right", "left", "down", "up")
STEPS = (2, 3)
"""Steps in pixels a frame, one of which is drawn for every clip."""


def places(labels: Tensor, draws: Tensor, side: int) -> Tensor:
    """The place of the image in every frame.

    Args:
        labels: int64, B: indices into ``DIRECTIONS``.
        draws: float32, B×(T + 3), uniform on [0, 1): start row and column, step, and keys whose order is σ.
        side: side of the canvas in pixels.

    Returns:
        int64, B×T×2: row and column of the upper left pixel.
    """
    start, step, keys = (draws[:, :2] * side).long(), (draws[:, 2] * len(STEPS)).long(), draws[:, 3:]
    ahead = torch.arange(keys.shape[1]).expand_as(keys)
    along = torch.where((labels % 2 == 1)[:, None], ahead.flip(1), ahead)
    across = keys.argsort(1)
    horizontal = (labels < 2)[:, None, None]
    walk = torch.where(horizontal, torch.stack([across, along], 2), torch.stack([along, across], 2))
    return (start[:, None] + torch.tensor(STEPS)[step][:, None, None] * walk) % side


def render(pictures: Tensor, where: Tensor, side: int) -> Tensor:
    """Images on a black torus of side×side pixels.

    Args:
        pictures: uint8, B×C×h×w, at most ``side`` pixels a side.
        where: from :func:`places`, on the pictures' device.
        side: side of the torus.

    Returns:
        uint8, B×T×C×side×side.
    """
    batch, channels, height, width = pictures.shape
    frames = where.shape[1]
    padded = F.pad(pictures, (0, side - width, 0, side - height)).flatten(2)
    pixel = torch.arange(side, device=pictures.device)
    rows, columns = ((pixel - where[..., axis, None]) % side for axis in (0, 1))
    flat = (rows[..., :, None] * side + columns[..., None, :]).flatten(2)
    wide = padded[:, None].expand(-1, frames, -1, -1)
    moved = wide.gather(3, flat[:, :, None].expand(-1, -1, channels, -1))
    return moved.view(batch, frames, channels, side, side)


class MovingImages(Clips):
    """Clips of moving images, one clip an image; the images' own labels do not matter.

    Args:
        images: the images.
        frames: number of frames of a clip.
        side: side of the canvas in pixels.
        tests: number of test clips, made of the first test images.
    """

    at_once = 250

    def __init__(self, images: LabeledImages, frames: int, side: int, tests: int) -> None:
        self._pictures: dict[Split, Tensor] = {"train": images.train.images, "test": images.test.images[:tests]}
        self.labels = {part: _directions(part, len(pictures)) for part, pictures in self._pictures.items()}
        self.classes, self.frames, self.channels, self.size = DIRECTIONS, frames, images.channels, (side, side)
        # the canvas is black outside the fraction that the image covers
        share = images.size[0] * images.size[1] / side**2
        self.mean = tuple(mean * share for mean in images.mean)
        squares = [(mean**2 + std**2) * share for mean, std in zip(images.mean, images.std, strict=True)]
        self.std = tuple((square - mean**2) ** 0.5 for square, mean in zip(squares, self.mean, strict=True))
        kind = f"{images.facts['digest']} moving {frames} {side} {STEPS}"
        self.facts = facts({part: len(pictures) for part, pictures in self._pictures.items()}, digest([kind.encode()]))

    def clips(
        self, part: Split, batches: Sequence[Tensor], device: torch.device, draw: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        count = len(self.labels[part])
        stream = generator(SHARED, f"motion of {part}") if draw is None else generator(draw[0], "motion", draw[1])
        draws = torch.rand(count, self.frames + 3, generator=stream)
        pictures = self._pictures[part] = self._pictures[part].to(device)
        for numbers in batches:
            where = places(self.labels[part][numbers], draws[numbers], self.size[0])
            yield render(pictures[numbers.to(device)], where.to(device), self.size[0])


def _directions(part: Split, count: int) -> Tensor:
    """Equally many clips of every direction, in an order that is the same in every trial."""
    order = torch.randperm(count, generator=generator(SHARED, f"directions of {part}"))
    return order % len(DIRECTIONS)
