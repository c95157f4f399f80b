"""Labelled images that stay files: too large for memory, read by worker processes as they are needed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bevel.errors import InvalidValue
from bevel_lab.data import loader
from bevel_lab.data.images.in_memory import facts
from bevel_lab.errors import LabError

SIDE = 224
"""Height and width of what the model sees: RandomResizedCrop to it, or the centre after the short side is 256."""


@dataclass(frozen=True, eq=False)
class LabeledFiles:
    """Image files of one part, below ``root``, and their labels: int64, N."""

    root: Path
    names: Sequence[str]
    labels: Tensor

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.names),) or not self.names:
            raise InvalidValue(
                f"labels are int64, one a file, at least one; got {self.labels.dtype} {tuple(self.labels.shape)} for "
                f"{len(self.names)} files."
            )

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Of names, sizes and labels; raises ``LabError`` naming a file that is gone or empty."""
        total = hashlib.sha256()
        for name, label in zip(self.names, self.labels.tolist(), strict=True):
            try:
                size = _bytes(self.root / name)
            except OSError as error:
                raise LabError(f"{self.root / name} cannot be read ({error.strerror}); put it back.") from error
            if not size:
                raise LabError(f"{self.root / name} is empty; fetch it again, or delete it.")
            total.update(f"{name}\0{size}\0{label}\n".encode())
        return total.hexdigest()


def _bytes(path: Path) -> int:
    """Of a file, or of the files in a folder (a clip may be a folder of frames)."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


@dataclass(frozen=True, eq=False)
class LabeledImageFiles:
    """An image classification data set on disk; the model sees 3×224×224.

    Attributes:
        train, test: the two parts; the validation part is split off ``train`` by the task.
        classes: number of classes; labels are 0 … classes − 1.
        flips: whether a mirrored image keeps its label.
        note: what a reader of the results must know of the data beside its name, or empty.
        mean, std: per channel of pixels in [0, 1]: ImageNet's, as everywhere.
        facts: as of ``LabeledImages``, but the digest is of names, sizes and labels: pixels are not read for it.
    """

    train: LabeledFiles
    test: LabeledFiles
    classes: int
    flips: bool = True
    note: str = ""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    facts: dict[str, int | str] = field(init=False)
    channels: int = field(init=False, default=3)
    size: tuple[int, int] = field(init=False, default=(SIDE, SIDE))

    def __post_init__(self) -> None:
        digest = hashlib.sha256((self.train.digest() + self.test.digest()).encode()).hexdigest()[:16]
        object.__setattr__(self, "facts", facts(len(self.train), len(self.test), digest, self.note))


@dataclass(frozen=True)
class Reader:
    """(Pillow image, seed) → uint8 3×224×224, by torchvision's transforms; a value, so that it travels to processes.

    Attributes:
        augment: whether crop and flip are drawn, from the seed and nothing else, or the crop is the one in the middle.
        flips: whether a mirror image has the same label.
    """

    augment: bool
    flips: bool = False

    def __call__(self, image: Any, seed: int) -> Tensor:
        from torchvision.transforms import v2

        if self.augment:
            steps = [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(0.5 if self.flips else 0.0)]
        else:
            steps = [v2.Resize(256), v2.CenterCrop(SIDE)]
        # torchvision draws from the global generator, which is lent to it here
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            pixels: Tensor = v2.Compose([*steps, v2.PILToTensor()])(image)
            return pixels


@dataclass(frozen=True, eq=False)
class _Reading(Dataset[Tensor]):
    """Keys are (number of the file, seed)."""

    files: LabeledFiles
    read: Callable[[Any, int], Tensor]
    open_file: Callable[[Path], Any]

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        number, seed = key
        return self.read(self.open_file(self.files.root / self.files.names[number]), seed)


def read_image(path: Path, mode: str | None = "RGB") -> Any:
    """The Pillow image in ``mode`` (None: the file's own); raises ``LabError`` naming a file that is no whole image."""
    with open_image(path) as image:
        return image.convert(mode) if mode else image.copy()  # without a mode, palettes would become colors


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """The Pillow image read up to its header; raises as :func:`read_image`, also for what is done with it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabError(
            f"{path} is no whole image ({type(error).__name__}: {error}); fetch it again, or delete it."
        ) from error


def read_batches(
    files: LabeledFiles, keys: Iterable[list[tuple[int, int]]], read: Callable[[Any, int], Tensor], pin: bool,
    open_file: Callable[[Path], Any] = read_image,
) -> Iterator[Tensor]:  # fmt: skip
    """Batches of what ``read`` makes of (what ``open_file`` makes of a file's path, seed).

    By :func:`bevel_lab.data.loader.batches`; ``keys`` are (number of the file, seed).
    """
    return loader.batches(_Reading(files, read, open_file), keys, pin=pin)
