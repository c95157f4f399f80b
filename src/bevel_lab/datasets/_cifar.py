"""CIFAR's Python batches, in torchvision's folder layout: all of them and verified, or a named subset of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import _arrays
from bevel_lab.datasets._files import check_md5
from bevel_lab.errors import LabError


@dataclass(frozen=True)
class Cifar:
    """One of the two sets.

    Attributes:
        classes: number of classes, which is in its name.
        folder: that its archive holds.
        labels: key of the labels in a batch.
        train, test: MD5 of every batch by its file's name, as torchvision publishes them.
    """

    classes: int
    folder: str
    labels: str
    train: Mapping[str, str]
    test: Mapping[str, str]

    def whole(self, source: Source) -> LabeledImages:
        """Read the original files; raises ``LabError`` naming one that is missing, changed or damaged."""
        folder = source.root / self.folder
        for name, md5 in {**self.train, **self.test}.items():
            check_md5(
                folder / name,
                md5,
                f"pass --data-root with the folder that holds {self.folder}, or --download to fetch it; to train on "
                f"what part of it is there, ask for cifar{self.classes}_subset",
            )
        return self._read(folder, list(self.train), "")

    def subset(self, source: Source) -> LabeledImages:
        """Read the test batch and those training batches that are there; the record's digest says which they were."""
        folder = source.root / self.folder
        there = [name for name in self.train if (folder / name).is_file()]
        if not there:
            names = ", ".join(self.train)
            raise LabError(f"{folder} has no training batch ({names}); pass --data-root with the folder around it.")
        return self._read(folder, there, f"training batches {', '.join(there)}, not verified to be the original files")

    def _read(self, folder: Path, names: list[str], note: str) -> LabeledImages:
        train, test = (_joined([self._batch(folder / name) for name in part]) for part in (names, self.test))
        return LabeledImages(train, test, classes=self.classes, flips=True, note=note)

    def _batch(self, path: Path) -> LabeledTensors:
        pixels, labels = _arrays.read(path, "data", self.labels)
        if pixels.ndim != 2 or pixels.shape[1] != 3072 or not len(pixels) or len(labels) != len(pixels):
            raise LabError(
                f"{path} has pixels {'×'.join(map(str, pixels.shape))} and {len(labels)} labels; a batch has N×3072 "
                "and N. Unpack or fetch it again."
            )
        if not 0 <= min(labels) <= max(labels) < self.classes:
            raise LabError(
                f"{path} has labels {min(labels)} … {max(labels)}; CIFAR-{self.classes}'s are 0 … {self.classes - 1}. "
                "Unpack or fetch it again."
            )
        return LabeledTensors(pixels.reshape(-1, 3, 32, 32).contiguous(), torch.tensor(labels))


def _joined(parts: list[LabeledTensors]) -> LabeledTensors:
    return LabeledTensors(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
