"""What feeds a classifier: uint8 images and labels on the device, from memory or from files, with one face."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bevel_lab.data.images.augment import augment, draw
from bevel_lab.data.images.from_files import LabeledFiles, LabeledImageFiles, Reader, read_batches
from bevel_lab.data.images.in_memory import LabeledImages, LabeledTensors
from bevel_lab.runtime.rng import derive, generator

Rows = slice | Tensor
"""Which rows of a whole batch are wanted; a process of several needs its own only."""


class Feed(abc.ABC):
    """The parts of a data set, split. Batches are (uint8 B×C×H×W, int64 B) on the device."""

    @abc.abstractmethod
    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For every (samples of the whole batch, rows): those rows, shifted or cropped and mirrored where asked.

        What happens to a sample follows from seed, epoch and its place, never from which rows are asked for.
        """

    @abc.abstractmethod
    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation part, in order."""

    @abc.abstractmethod
    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The test part, in order; nothing is read of it before."""


class InMemoryFeed(Feed):
    """From memory: all images lie on the device, and never leave it."""

    AT_ONCE = 1000
    """Images evaluated at once; part of the result's last bits, therefore fixed."""

    def __init__(
        self, data: LabeledImages, training: Tensor, validation: Tensor, augmented: bool, device: torch.device
    ) -> None:
        self.data, self.augmented, self.device = data, augmented, device
        self.index = training.to(device)
        self.part = data.train.to(device)
        self.held_out = LabeledTensors(data.train.images[validation], data.train.labels[validation]).to(device)

    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        draws = generator(seed, "augmentation", epoch, self.device)
        for samples, rows in order:
            chosen = self.index[samples[rows].to(self.device)]
            images = self.part.images[chosen]
            if self.augmented:
                images = augment(images, self.data.flips, draw(len(samples), draws)[:, rows])
            yield images, self.part.labels[chosen]

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._whole(self.held_out)

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._whole(self.data.test.to(self.device))

    def _whole(self, part: LabeledTensors) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(part), self.AT_ONCE):
            end = start + self.AT_ONCE
            yield part.images[start:end], part.labels[start:end]


class FileFeed(Feed):
    """From files: only the rows asked for are read."""

    AT_ONCE = 250

    def __init__(
        self, data: LabeledImageFiles, training: Tensor, validation: Tensor, augmented: bool, device: torch.device
    ) -> None:
        self.data, self.device = data, device
        self.index, self.held_out = training, validation
        self.read_training, self.read = Reader(augmented, data.flips), Reader(augment=False)

    def training(self, order: Iterable[tuple[Tensor, Rows]], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        base = derive(seed, "augmentation", epoch)
        wanted = [self.index[samples[rows]] for samples, rows in order]
        keys = ([(i, derive(base, "sample", i)) for i in numbers.tolist()] for numbers in wanted)
        batches = read_batches(self.data.train, keys, self.read_training, self.device.type == "cuda")
        return self._placed(self.data.train, batches, wanted)

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._whole(self.data.train, self.held_out)

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._whole(self.data.test, torch.arange(len(self.data.test)))

    def _whole(self, files: LabeledFiles, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        parts = [numbers[start : start + self.AT_ONCE] for start in range(0, len(numbers), self.AT_ONCE)]
        keys = ([(i, 0) for i in part.tolist()] for part in parts)
        return self._placed(files, read_batches(files, keys, self.read, self.device.type == "cuda"), parts)

    def _placed(
        self, files: LabeledFiles, batches: Iterator[Tensor], wanted: Iterable[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for images, numbers in zip(batches, wanted, strict=True):
            yield images.to(self.device, non_blocking=True), files.labels[numbers].to(self.device)


def feed(
    data: LabeledImages | LabeledImageFiles, training: Tensor, validation: Tensor, augmented: bool, device: torch.device
) -> Feed:
    """The feed for ``data``: ``training`` and ``validation`` are numbers of its training part's samples."""
    if isinstance(data, LabeledImageFiles):
        return FileFeed(data, training, validation, augmented, device)
    return InMemoryFeed(data, training, validation, augmented, device)
