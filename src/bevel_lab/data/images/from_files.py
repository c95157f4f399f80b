"""Labeled images that stay files: too large for memory, read by worker processes when a batch needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bevel_lab.data.facts import digest, facts
from bevel_lab.data.images.image_file import read_image
from bevel_lab.data.labeled_files import LabeledFiles
from bevel_lab.data.overlap import Shared, same_files
from bevel_lab.runtime.rng import seeded

SIDE = 224
"""Height and width of what the model sees: RandomResizedCrop to it, or the center after the short side is 256."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Moments of ImageNet's pixels in [0, 1], by channel; they serve for all data sets that stay files."""


@dataclass(eq=False)
class LabeledImageFiles:
    """An image classification data set on disk; the model sees 3×224×224.

    Attributes:
        train, test: the two parts; the task splits the validation part off ``train``.
        classes: number of classes; labels are 0 … classes − 1.
        flips: whether a mirrored image keeps its label.
        note: what a reader of the results must know of the data beside its name, or empty.
        mean, std: per channel of pixels in [0, 1]: ImageNet's.
        channels, size: 3 and (224, 224).
        facts: counts, a digest of names, sizes and labels (pixels are not read for it), the note.

    Raises:
        LabError: if a file is missing or empty.
    """

    train: LabeledFiles
    test: LabeledFiles
    classes: int
    flips: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        self.channels, self.size = 3, (SIDE, SIDE)
        content = digest(part.digest().encode() for part in (self.train, self.test))
        self.facts = facts({"train": len(self.train), "test": len(self.test)}, content, note=self.note)

    def shared(self) -> Shared:
        """Test images whose files are those of training images; see :mod:`bevel_lab.data.overlap`."""
        return same_files(self.train.paths(), self.test.paths())


@dataclass(frozen=True)
class ImageReader:
    """(path, seed) → uint8 3×224×224, by torchvision's transforms. A value, so that worker processes can unpickle it.

    Attributes:
        augment: whether crop and flip are drawn from the seed; otherwise the crop is the center.
        flips: whether a mirrored image keeps its label.
    """

    augment: bool
    flips: bool = False

    def __call__(self, path: Path, seed: int) -> Tensor:
        from torchvision.transforms import v2

        if self.augment:
            steps = [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(0.5 if self.flips else 0.0)]
        else:
            steps = [v2.Resize(256), v2.CenterCrop(SIDE)]
        with seeded(seed):
            pixels: Tensor = v2.Compose([*steps, v2.PILToTensor()])(read_image(path))
            return pixels
