"""Labelled images held in memory: small ones, as uint8, whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bevel.errors import InvalidValue


@dataclass(frozen=True, eq=False)
class LabeledTensors:
    """Images of one part: uint8, N×C×H×W, and their labels: int64, N."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
            raise InvalidValue(f"images are uint8, N×C×H×W, not empty; got {images.dtype} {tuple(images.shape)}.")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise InvalidValue(
                f"labels are int64, one an image; got {labels.dtype} {tuple(labels.shape)} for {len(images)} images."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> LabeledTensors:
        return LabeledTensors(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """An image classification data set.

    Attributes:
        train, test: the two parts; the validation part is split off ``train`` by the task.
        classes: number of classes; labels are 0 … classes − 1.
        flips: whether a mirrored image keeps its label.
        note: what a reader of the results must know of the data beside its name, or empty.
        mean, std: per channel, of ``train`` scaled to [0, 1].
        facts: what exactly the data is: numbers of images, a digest of all pixels and labels, the note.
    """

    train: LabeledTensors
    test: LabeledTensors
    classes: int
    flips: bool
    note: str = ""
    mean: tuple[float, ...] = field(init=False)
    std: tuple[float, ...] = field(init=False)
    facts: dict[str, int | str] = field(init=False)

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= self.classes:
                raise InvalidValue(f"labels are 0 … {self.classes - 1}; the {name} part has {low} … {high}.")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise InvalidValue("training and test images have one shape; these differ.")
        mean, std = moments(self.train.images)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        object.__setattr__(
            self, "facts", facts(len(self.train), len(self.test), _digest(self.train, self.test), self.note)
        )

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.train.images.shape[2], self.train.images.shape[3]


def facts(train: int, test: int, digest: str, note: str) -> dict[str, int | str]:
    """What a record says of its data; two data sets of one name with different files differ in ``digest``."""
    found: dict[str, int | str] = {"train": train, "test": test, "digest": digest}
    return found | {"note": note} if note else found


def _digest(*parts: LabeledTensors) -> str:
    """Sixteen hex digits of the SHA-256 of shapes, pixels and labels."""
    total = hashlib.sha256()
    for part in parts:
        total.update(repr(tuple(part.images.shape)).encode())
        total.update(part.images.cpu().contiguous().numpy().data)
        total.update(part.labels.cpu().contiguous().numpy().data)
    return total.hexdigest()[:16]


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images scaled to [0, 1], exact: from the 256 counts."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(max(float(share @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(stds)
