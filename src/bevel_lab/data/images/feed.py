"""Batches for a classifier, uint8 images and labels on the device, from memory or from files through one interface."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bevel_lab.data.images.augment import augment, draw
from bevel_lab.data.images.from_files import ImageReader, LabeledImageFiles
from bevel_lab.data.images.in_memory import LabeledImages, LabeledTensors
from bevel_lab.data.labeled_files import LabeledFiles
from bevel_lab.runtime.rng import derive, generator

Rows = slice | Tensor
"""The rows of a whole batch that are wanted; one process of several needs its own only."""
Batches = Iterator[tuple[Tensor, Tensor]]
"""Images, uint8 B×C×H×W, and labels, int64 B, on the device."""


class Feed(abc.ABC):
    """Batches of the three parts of a data set.

    Args:
        data: the data set.
        index, held_out: the training and validation samples in ``data.train``, int64.
        augmented: whether training images are augmented.
        device: where the batches go.
    """

    def __init__(self, data: Any, index: Tensor, held_out: Tensor, augmented: bool, device: torch.device) -> None:
        self.data, self.train, self.index, self.held_out = data, data.train, index, held_out
        self.augmented, self.device = augmented, device

    @abc.abstractmethod
    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Batches:
        """For every (samples of the whole batch, rows): those rows, randomly cropped and mirrored if augmented.

        Augmentation of a sample follows from seed, epoch and its place, never from the rows that are asked for.
        """

    def validation(self) -> Batches:
        """The validation part, in order."""
        return self._in_order(self.train, self.held_out)

    def test(self) -> Batches:
        """The test part, in order; nothing reads it before."""
        part = self.data.test
        return self._in_order(part, torch.arange(len(part)))

    @abc.abstractmethod
    def _in_order(self, part: Any, numbers: Tensor) -> Batches: ...


class InMemoryFeed(Feed):
    """Batches of :class:`LabeledImages`; the training part lies on the device."""

    AT_ONCE = 1000
    """Images evaluated at once; the result's last bits depend on it, so it is fixed."""

    def __init__(self, data: Any, index: Tensor, held_out: Tensor, augmented: bool, device: torch.device) -> None:
        super().__init__(data, index.to(device), held_out.to(device), augmented, device)
        self.train = data.train.to(device)

    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Batches:
        draws = generator(seed, "augmentation", epoch, self.device)
        for samples, rows in order:
            chosen = self.index[samples[rows].to(self.device)]
            images = self.train.images[chosen]
            if self.augmented:
                images = augment(images, self.data.flips, draw(len(samples), draws)[:, rows])
            yield images, self.train.labels[chosen]

    def _in_order(self, part: LabeledTensors, numbers: Tensor) -> Batches:
        part = part.to(self.device)
        for chosen in torch.split(numbers.to(self.device), self.AT_ONCE):
            yield part.images[chosen], part.labels[chosen]


class FileFeed(Feed):
    """Batches of :class:`LabeledImageFiles`, which worker processes read."""

    AT_ONCE = 250
    """Images evaluated at once; the result's last bits depend on it, so it is fixed."""

    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Batches:
        numbers = [self.index[samples[rows]] for samples, rows in order]
        reader = ImageReader(self.augmented, self.data.flips)
        return self._read(self.train, numbers, reader, derive(seed, "augmentation", epoch))

    def _in_order(self, part: LabeledFiles, numbers: Tensor) -> Batches:
        return self._read(part, torch.split(numbers, self.AT_ONCE), ImageReader(augment=False))

    def _read(self, part: LabeledFiles, numbers: Sequence[Tensor], reader: ImageReader, seed: int = 0) -> Batches:
        for images, chosen in zip(part.batches(numbers, reader, self.device, seed), numbers, strict=True):
            yield images, part.labels[chosen].to(self.device)


def feed(
    data: LabeledImages | LabeledImageFiles, index: Tensor, held_out: Tensor, augmented: bool, device: torch.device
) -> Feed:
    """The feed of a data set; the arguments are those of :class:`Feed`."""
    kind = FileFeed if isinstance(data, LabeledImageFiles) else InMemoryFeed
    return kind(data, index, held_out, augmented, device)
