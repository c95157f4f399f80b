"""Labeled images in memory: uint8, whole, for data sets of small images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data.facts import digest, facts
from bevel_lab.data.overlap import Shared, same_tensors


@dataclass(frozen=True, eq=False)
class LabeledTensors:
    """Images of one part of a data set, and their labels.

    Attributes:
        images: uint8, N×C×H×W.
        labels: int64, N.
        names: what messages call the images, N; empty: their numbers.

    Raises:
        InvalidValue: for other dtypes or shapes, no image, or another number of names.
    """

    images: Tensor
    labels: Tensor
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
            raise InvalidValue(f"images must be uint8, N×C×H×W, not empty; got {images.dtype} {tuple(images.shape)}.")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise InvalidValue(
                f"labels must be int64, one an image; got {labels.dtype} {tuple(labels.shape)} for {len(images)} "
                "images."
            )
        if self.names and len(self.names) != len(images):
            raise InvalidValue(f"names must be one an image, or none; got {len(self.names)} for {len(images)} images.")

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, number: int, part: str) -> str:
        """What a message calls an image; ``part`` is said where images have no names."""
        return self.names[number] if self.names else f"{part} image {number}"

    def content(self) -> list[Any]:
        """Bytes-like shape, pixels and labels."""
        tensors = [tensor.cpu().contiguous().numpy().data for tensor in (self.images, self.labels)]
        return [repr(tuple(self.images.shape)).encode(), *tensors]

    def to(self, device: str | torch.device) -> LabeledTensors:
        return LabeledTensors(self.images.to(device), self.labels.to(device), self.names)


@dataclass(eq=False)
class LabeledImages:
    """An image classification data set in memory.

    Attributes:
        train, test: the two parts; the task splits the validation part off ``train``.
        classes: number of classes; labels are 0 … classes − 1.
        flips: whether a mirrored image keeps its label.
        note: what a reader of the results must know of the data beside its name, or empty.
        channels, size: C and (height, width) of the images.
        mean, std: per channel, of ``train`` scaled to [0, 1].
        facts: counts, a digest of all pixels and labels, the note.

    Raises:
        InvalidValue: if a label is out of range, or the two parts differ in shape.
    """

    train: LabeledTensors
    test: LabeledTensors
    classes: int
    flips: bool
    note: str = ""

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= self.classes:
                raise InvalidValue(f"labels must be 0 … {self.classes - 1}; the {name} part has {low} … {high}.")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise InvalidValue("training and test images must have one shape; these differ.")
        self.channels, height, width = self.train.images.shape[1:]
        self.size = height, width
        self.mean, self.std = moments(self.train.images)
        content = digest(chunk for part in (self.train, self.test) for chunk in part.content())
        self.facts = facts({"train": len(self.train), "test": len(self.test)}, content, note=self.note)

    def shared(self) -> Shared:
        """Test images with the pixels of a training image; see :mod:`bevel_lab.data.overlap`."""
        pairs = same_tensors(self.train.images, self.test.images)
        return [(self.test.name(j, "test"), self.train.name(i, "training")) for j, i in pairs]


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images scaled to [0, 1], exactly, from the 256 counts."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(max(float(share @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(stds)
