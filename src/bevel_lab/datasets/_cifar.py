"""CIFAR's Python batches, in torchvision's folder layout: all of them and verified, or a named subset of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import _arrays
from bevel_lab.datasets._files import check, downloading
from bevel_lab.errors import LabError


@dataclass(frozen=True)
class Cifar:
    """One of the two sets.

    Attributes:
        origin: name of its class in torchvision, which knows folder, files and checksums.
        labels: key of the labels in a batch.
        classes: number of classes.
        whole: whether every batch must be there and be the original file. Otherwise the test batch and at least one
            training batch of any origin do; the record's digest says which they were.
    """

    origin: str
    labels: str
    classes: int
    whole: bool = True

    def load(self, source: Source) -> LabeledImages:
        """Read ``source.root / cifar-…``; raises ``LabError`` naming what is missing or damaged."""
        import torchvision.datasets

        origin = getattr(torchvision.datasets, self.origin)
        folder = source.root / origin.base_folder
        if self.whole:
            self._verify(origin, folder, source)
        there = [name for name, _ in origin.train_list if (folder / name).is_file()]
        if not there:
            names = ", ".join(name for name, _ in origin.train_list)
            raise LabError(f"{folder} has no training batch ({names}); pass --data-root with the folder around it.")
        train = [self._batch(folder / name) for name in there]
        test = [self._batch(folder / name) for name, _ in origin.test_list]
        note = "" if self.whole else f"training batches {', '.join(there)}, not verified to be the original files"
        return LabeledImages(_joined(train), _joined(test), classes=self.classes, flips=True, note=note)

    def _verify(self, origin: Any, folder: Path, source: Source) -> None:
        files = [*origin.train_list, *origin.test_list]
        if source.download and not all((folder / name).is_file() for name, _ in files):
            from torchvision.datasets.utils import download_and_extract_archive

            with downloading(origin.__name__, source.root, f"unpack {origin.filename} into it"):
                download_and_extract_archive(origin.url, str(source.root), filename=origin.filename, md5=origin.tgz_md5)
        for name, md5 in files:
            check(
                folder / name,
                md5,
                f"pass --data-root with the folder that holds {origin.base_folder}, or --download to fetch it; to "
                f"train on what part of it is there, ask for {self.origin.lower()}_subset",
            )

    def _batch(self, path: Path) -> LabeledTensors:
        pixels, labels = _arrays.read(path, "data", self.labels)
        if pixels.ndim != 2 or pixels.shape[1] != 3072 or not len(pixels) or len(labels) != len(pixels):
            raise LabError(
                f"{path} has pixels {'×'.join(map(str, pixels.shape))} and {len(labels)} labels; a batch has N×3072 "
                "and N. Unpack or fetch it again."
            )
        if not 0 <= min(labels) <= max(labels) < self.classes:
            raise LabError(
                f"{path} has labels {min(labels)} … {max(labels)}; {self.origin}'s are 0 … {self.classes - 1}. "
                "Unpack or fetch it again."
            )
        return LabeledTensors(pixels.reshape(-1, 3, 32, 32).contiguous(), torch.tensor(labels))


def _joined(parts: list[LabeledTensors]) -> LabeledTensors:
    return LabeledTensors(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
