"""Labeled files below a folder, images or clips, and batches read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data import loader
from bevel_lab.data.facts import digest
from bevel_lab.errors import LabError
from bevel_lab.runtime.rng import derive


@dataclass(frozen=True, eq=False)
class LabeledFiles:
    """Files of one part of a data set, and their labels.

    Attributes:
        root: folder of the files.
        names: paths of the files below ``root``, N; a clip may also be a folder of frames.
        labels: int64, N.

    Raises:
        InvalidValue: if there is no file, or not one label a file.
    """

    root: Path
    names: Sequence[str]
    labels: Tensor

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.names),) or not self.names:
            raise InvalidValue(
                f"labels must be int64, one a file, at least one; got {self.labels.dtype} "
                f"{tuple(self.labels.shape)} for {len(self.names)} files."
            )

    def __len__(self) -> int:
        return len(self.names)

    def paths(self) -> list[Path]:
        """The files."""
        return [self.root / name for name in self.names]

    def digest(self) -> str:
        """64 hex digits of the SHA-256 of names, sizes and labels; raises ``LabError`` for a missing or empty file."""
        labeled = zip(self.names, self.labels.tolist(), strict=True)
        return digest(
            (f"{name}\0{self._size(name)}\0{label}\n".encode(errors="surrogateescape") for name, label in labeled), 64
        )

    def _size(self, name: str) -> int:
        path = self.root / name
        try:
            files = path.iterdir() if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files)
        except OSError as error:
            raise LabError(f"{path} cannot be read ({error.strerror}); put it back.") from error
        if not size:
            raise LabError(f"{path} is empty; fetch it again, or delete it.")
        return size

    def batches(
        self, numbers: Iterable[Tensor], read: Callable[[Path, int], Tensor], device: torch.device, seed: int = 0
    ) -> Iterator[Tensor]:
        """Stacked samples on ``device``, read by :func:`bevel_lab.data.loader.batches`.

        Args:
            numbers: the files of every batch, int64.
            read: (path, seed) → sample; it is pickled to the worker processes.
            device: where the batches go.
            seed: the seed of every sample follows from it and the file's number.
        """
        keys = ([(i, derive(seed, "sample", i)) for i in batch.tolist()] for batch in numbers)
        for batch in loader.batches(partial(self._read, read), keys, pin=device.type == "cuda"):
            yield batch.to(device, non_blocking=True)

    def _read(self, read: Callable[[Path, int], Tensor], key: tuple[int, int]) -> Tensor:
        number, seed = key
        return read(self.root / self.names[number], seed)
