"""The idx files of MNIST and its relatives, in torchvision's folder layout, checked before anything is trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.errors import LabError


@dataclass(frozen=True)
class IdxSet:
    """Four idx files.

    Attributes:
        folder: name of the data set's folder.
        flips: whether a mirrored image keeps its label.
        sha256: digest of every (uncompressed) file by name. Sizes do not show a flipped byte; this does.
    """

    folder: str
    flips: bool
    sha256: Mapping[str, str]

    def load(self, source: Source) -> LabeledImages:
        """Read ``source.root / folder / raw``; raises ``LabError`` naming what is missing or damaged."""
        raw = source.root / self.folder / "raw"
        missing = [name for name in self.sha256 if not (raw / name).is_file()]
        if missing:
            what = f"{raw / missing[0]} does not exist" if raw.is_dir() else f"there is no folder {raw}"
            raise LabError(
                f"{what}; pass --data-root with the folder that holds {self.folder}/raw, or --download to fetch it."
            )
        return LabeledImages(self._part(raw, "train"), self._part(raw, "t10k"), classes=10, flips=self.flips)

    def _part(self, raw: Path, prefix: str) -> LabeledTensors:
        images = self._tensor(raw / f"{prefix}-images-idx3-ubyte", 3)
        labels = self._tensor(raw / f"{prefix}-labels-idx1-ubyte", 1)
        return LabeledTensors(images[:, None], labels.long())

    def _tensor(self, path: Path, dimensions: int) -> Tensor:
        data = path.read_bytes()
        values = parse(data, dimensions, path)
        if hashlib.sha256(data).hexdigest() != self.sha256[path.name]:
            raise LabError(f"{path} is damaged: its checksum is not {self.folder}'s; delete it and fetch it again.")
        return values


def parse(data: bytes, dimensions: int, path: Path) -> Tensor:
    """Decode an idx file of unsigned bytes; returns uint8 of ``dimensions`` dimensions.

    Raises:
        LabError: where the header or the length is not that of such a file; names ``path``.
    """
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, 8, dimensions)):
        raise LabError(f"{path} is not an idx file of {dimensions}-d bytes; unpack or fetch it again.")
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    if len(data) != start + math.prod(shape):
        raise LabError(
            f"{path} is truncated or too long: its header says {start + math.prod(shape)} bytes, it has {len(data)}; "
            "fetch it again."
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(shape)
