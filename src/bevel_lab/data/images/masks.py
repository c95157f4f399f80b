"""Images with a class for every pixel, in memory if they are small, otherwise read when a batch needs them.

A *scene* is an image and its mask in one tensor, uint8 4×H×W with the mask as its last channel, so that cropping and
mirroring treat both alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data import loader
from bevel_lab.data.facts import digest, facts
from bevel_lab.data.images.from_files import IMAGENET_MEAN, IMAGENET_STD
from bevel_lab.data.images.in_memory import moments
from bevel_lab.data.overlap import Shared, same_files

VOID = 255
"""The class of pixels that are neither learned nor counted."""
IN_MEMORY_BYTES = 2**29
"""A data set with at most so many bytes of pixels and masks is read into memory."""
Color = tuple[int, int, int]


class Crop(NamedTuple):
    """A rectangle of a scene in pixels, mirrored or not."""

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
"""Number of a scene, and its crop; None: the whole scene."""


@dataclass(frozen=True, eq=False)
class SegmentationDataset:
    """One part of a data set: scenes of one size.

    Attributes:
        images: the image files.
        digest: of the part's content, as hex digits.
        read: number → uint8 4×H×W; raises ``LabError`` for an invalid file.
        in_memory: uint8 N×4×H×W if all scenes are in memory; ``read`` is then not called.
    """

    images: Sequence[Path]
    digest: str
    read: Callable[[int], Tensor]
    in_memory: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        """Names of the images, equal on every machine."""
        return [path.name for path in self.images]

    def __getitem__(self, key: Key) -> Tensor:
        number, crop = key
        scene = self.read(number) if self.in_memory is None else self.in_memory[number]
        return crop.apply(scene) if crop else scene

    def to(self, device: torch.device) -> SegmentationDataset:
        return self if self.in_memory is None else dataclasses.replace(self, in_memory=self.in_memory.to(device))

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[Tensor]:
        """Uint8 B×4×H×W for every list of keys, by :func:`bevel_lab.data.loader.batches`."""
        return loader.batches(self.__getitem__, keys, in_memory=self.in_memory is not None)


@dataclass(eq=False)
class MaskedImages:
    """A segmentation data set.

    Attributes:
        train, test: the two parts.
        validation: the data set's own validation part; None: the task splits one off ``train``.
        classes: names of the classes; masks hold 0 … len(classes) − 1, and ``VOID``.
        colors: one (red, green, blue) a class, for pictures.
        size: (height, width) of all images.
        crop: (height, width) of random crops in training.
        note: what a reader of the results must know of the data beside its name, or empty.
        skipped: one sentence for every sample that was skipped as invalid.
        mean, std: per channel of pixels in [0, 1]: of ``train`` if it is in memory, otherwise ImageNet's.
        facts: counts, a digest, the classes, the note, what was skipped.

    Raises:
        InvalidValue: if there are fewer than two classes, or not one color a class.
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
                f"a data set must have at least two classes, one color each; got {len(self.classes)} and "
                f"{len(self.colors)} colors."
            )
        scenes = self.train.in_memory
        self.mean, self.std = (IMAGENET_MEAN, IMAGENET_STD) if scenes is None else moments(scenes[:, :3])
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        there = {name: part for name, part in parts.items() if part is not None}
        content = digest(part.digest.encode() for part in there.values())
        counts = {name: len(part) for name, part in there.items()}
        classes = ", ".join(self.classes)
        self.facts = facts(counts, content, classes=classes, note=self.note, skipped=self.skipped)

    def shared(self) -> Shared:
        """Test images whose files are training or validation images; see :mod:`bevel_lab.data.overlap`."""
        seen = [*self.train.images, *(self.validation.images if self.validation else ())]
        return same_files(seen, self.test.images)


def cropped(size: tuple[int, int]) -> tuple[int, int]:
    """Three quarters of (height, width), rounded down to multiples of 32 (networks halve five times), at least 32.

    Example:
        >>> cropped((360, 480))
        (256, 352)
    """
    height, width = (min(side, max(32, side * 3 // 4 // 32 * 32)) for side in size)
    return height, width
