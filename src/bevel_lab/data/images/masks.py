"""Images with a class for every pixel: held in memory where they are small, else read when they are needed.

An image and its mask travel as one tensor, uint8 4×H×W with the mask as its last channel, so that whatever crops or
mirrors the one does the same to the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data import loader
from bevel_lab.data.facts import digest, facts
from bevel_lab.data.images.from_files import IMAGENET_MEAN, IMAGENET_STD
from bevel_lab.data.images.in_memory import moments

VOID = 255
"""The class of pixels that are neither learnt nor counted."""
IN_MEMORY_BYTES = 2**29
"""Bytes of pixels and masks that a data set may have to be held in memory."""
Color = tuple[int, int, int]


class Crop(NamedTuple):
    """A part of a scene in pixels, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def apply(self, scene: Tensor) -> Tensor:
        """…×H×W → …×height×width."""
        part = scene[..., self.top : self.top + self.height, self.left : self.left + self.width]
        return part.flip(-1) if self.mirrored else part


Key = tuple[int, Crop | None]
"""Number of a scene, and what of it is wanted; None: all."""


@dataclass(frozen=True, eq=False)
class SegmentationDataset:
    """One part of a data set: scenes of one size.

    Attributes:
        names: of the images, one each, the same on every machine.
        digest: of what the part holds, as hex digits.
        read: number → uint8 4×H×W; raises ``LabError`` naming a file that will not do.
        in_memory: uint8 N×4×H×W if all scenes are in memory; ``read`` is then not called.
    """

    names: Sequence[str]
    digest: str
    read: Callable[[int], Tensor]
    in_memory: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: Key) -> Tensor:
        number, crop = key
        scene = self.read(number) if self.in_memory is None else self.in_memory[number]
        return crop.apply(scene) if crop else scene

    def to(self, device: torch.device) -> SegmentationDataset:
        return self if self.in_memory is None else dataclasses.replace(self, in_memory=self.in_memory.to(device))

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[Tensor]:
        """Uint8 B×4×H×W for every list of keys, read by :func:`bevel_lab.data.loader.batches` unless in memory."""
        return loader.batches(self.__getitem__, keys, in_memory=self.in_memory is not None)


@dataclass(eq=False)
class MaskedImages:
    """A segmentation data set.

    Attributes:
        train, test: two parts.
        validation: the data set's own validation part; None: the task draws one from ``train``.
        classes: their names; masks hold 0 … classes − 1, and ``VOID``.
        colors: one (red, green, blue) a class, for pictures.
        size: (height, width) of all images.
        crop: (height, width) of what is cut out at random in training.
        note: what a reader of the results must know of the data beside its name, or empty.
        skipped: what was skipped as invalid, a sentence each.
        mean, std: per channel of pixels in [0, 1]: of ``train`` where it is held, else ImageNet's.
        facts: what exactly the data is: numbers of images, a digest, the note, what was left out.
    """

    train: SegmentationDataset
    test: SegmentationDataset
    validation: SegmentationDataset | None
    classes: tuple[str, ...]
    colors: Sequence[Color]
    size: tuple[int, int]
    crop: tuple[int, int]
    note: str = ""
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(self.colors) != len(self.classes):
            raise InvalidValue(
                f"a data set has at least two classes, one color each; got {len(self.classes)} and "
                f"{len(self.colors)} colors."
            )
        held = self.train.in_memory
        self.mean, self.std = (IMAGENET_MEAN, IMAGENET_STD) if held is None else moments(held[:, :3])
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        there = {name: part for name, part in parts.items() if part is not None}
        content = digest(part.digest.encode() for part in there.values())
        counts = {name: len(part) for name, part in there.items()}
        classes = ", ".join(self.classes)
        self.facts = facts(counts, content, classes=classes, note=self.note, skipped=self.skipped)


def cropped(size: tuple[int, int]) -> tuple[int, int]:
    """Three quarters of each side, rounded down to a multiple of 32 (which networks halve five times), at least 32."""
    height, width = (min(side, max(32, side * 3 // 4 // 32 * 32)) for side in size)
    return height, width
