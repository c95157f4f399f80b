"""Cityscapes (Cordts et al. 2016), fine annotations: 19 classes, the others void.

The layout is torchvision's, ``cityscapes/{leftImg8bit,gtFine}/{train,val}/CITY/…``, unpacked from the two archives
where they lie in the folder instead. Masks are ``…_gtFine_labelIds.png``; torchvision's table says which of their 34
numbers is which class. The test part is ``val``: the labels of the real test part were never published.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel_lab.data.images.masks import VOID, MaskedImages, cropped
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_counts
from bevel_lab.datasets._listing import is_hidden
from bevel_lab.datasets._masks import Labels, Pair, scenes
from bevel_lab.datasets._origins import origin
from bevel_lab.errors import LabError, first_line

CLASSES = 19


@dataclass(frozen=True)
class CityscapesFine:
    """What must be there.

    Attributes:
        counts: numbers of training and validation images; None: any.
        size: (height, width) of the images; None: any that all share.
        crop: (height, width) cut out in training; None: as ``cropped`` says.
    """

    counts: tuple[int, int] | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None

    def load(self, source: Source) -> MaskedImages:
        """List the files; raises ``LabError`` naming what is missing, damaged, or of no known class."""
        root = source.root / "cityscapes"
        invalid = InvalidSamples(source.skip_invalid, root)
        parts = [_listed(source, split, invalid) for split in ("train", "val")]
        if self.counts and not invalid.skipped:
            found = {"training images": len(parts[0]), "validation images": len(parts[1])}
            check_counts(root, found, self.counts, "ask for cityscapes_subset")
        labels, names, colors = _classes()
        train, test = scenes(parts, labels, self.size, invalid)
        size = self.size or _shape(train.read(0).shape)
        return MaskedImages(
            train, test, None, names, colors, size, self.crop or cropped(size),
            note="" if self.counts else "what cityscapes holds, not verified to be the original",
            skipped=invalid.finish(),
        )  # fmt: skip


def _shape(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[-2], shape[-1]


def _listed(source: Source, split: str, invalid: InvalidSamples) -> list[Pair]:
    from torchvision.datasets import Cityscapes

    root = source.root / "cityscapes"
    try:
        found = Cityscapes(str(root), split=split, mode="fine", target_type="semantic")
    except (RuntimeError, OSError) as error:
        raise LabError(
            f"{root} is not in torchvision's layout ({first_line(error)}); Cityscapes cannot be downloaded "
            "without an account: put leftImg8bit and gtFine there."
        ) from error
    parts = zip(found.images, found.targets, strict=True)
    pairs = sorted((Pair(root / image, root / masks[0]) for image, masks in parts), key=lambda pair: pair.image)
    pairs = [pair for pair in pairs if not any(map(is_hidden, pair.image.relative_to(root).parts))]
    whole = [pair for pair in pairs if pair.mask.is_file()]
    for pair in pairs:
        if not pair.mask.is_file():
            invalid.add(f"{pair.image} has no mask {pair.mask}", "put it there")
    if not whole:
        raise LabError(f"{root / 'leftImg8bit' / split} has no image with a mask in gtFine; unpack both archives.")
    return whole


def _classes() -> tuple[Labels, tuple[str, ...], list[tuple[int, int, int]]]:
    """What the numbers stand for, and names and colors of the classes, by torchvision's table."""
    from torchvision.datasets import Cityscapes

    known = [row for row in Cityscapes.classes if row.id >= 0]
    numbers = {row.id: row.train_id if 0 <= row.train_id < CLASSES else VOID for row in known}
    learned = sorted((row for row in known if 0 <= row.train_id < CLASSES), key=lambda row: row.train_id)
    return Labels(numbers, "0 … 33"), tuple(row.name for row in learned), [row.color for row in learned]


TASK = "segmentation"
ENTRIES = {
    "cityscapes": DataSet(
        "2,975 + 500 street scenes, 2048×1024, 19 classes and void, from files; the whole original",
        CityscapesFine((2975, 500), (1024, 2048), (512, 1024)).load,
        TASK,
        origin("cityscapes"),
    ),
    "cityscapes_subset": DataSet(
        "Cityscapes, as much of it as is there, of one size",
        CityscapesFine(None, None, None).load,
        TASK,
        origin("cityscapes"),
    ),
}
