"""CamVid (Brostow et al. 2009) as SegNet split and labeled it: street scenes, 11 classes and void.

The folders are SegNet's: ``train`` and ``trainannot``, ``val`` and ``valannot``, ``test`` and ``testannot``. A mask has
the name of its image and holds 0 … 10, or 11 for void. The parts are of different drives, so ``val`` is the
validation part: neighboring frames, which a random split would separate, are nearly the same picture.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.images.image_file import read_image, read_mask
from bevel_lab.data.images.masks import MaskedImages, cropped
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_counts, check_folder
from bevel_lab.datasets._masks import numbered, paired, scenes
from bevel_lab.datasets._origins import origin

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""Names and usual colors, in the order of the labels."""


@dataclass(frozen=True)
class CamVid:
    """Folder and contents.

    Attributes:
        folder: its name below the data root.
        counts: numbers of training, validation and test images; nothing else tells a part from the whole.
        size: (height, width) of the images.
    """

    folder: str
    counts: tuple[int, int, int]
    size: tuple[int, int]

    def load(self, source: Source) -> MaskedImages:
        """Read it whole; raises ``LabError`` naming what is missing, damaged, or of no known class."""
        root = source.root / self.folder
        check_folder(root)
        invalid = InvalidSamples(source.skip_invalid, root)
        parts = [paired(root / name, root / f"{name}annot", invalid) for name in ("train", "val", "test")]
        if not invalid.skipped:
            found = dict(zip(("training images", "validation images", "test images"), map(len, parts), strict=True))
            check_counts(root, found, self.counts, "read what is there as a folder_masks")
        train, validation, test = scenes(parts, numbered(len(CLASSES), void=len(CLASSES)), self.size, invalid)
        return MaskedImages(
            train, test, validation, tuple(CLASSES), list(CLASSES.values()), self.size, cropped(self.size),
            skipped=invalid.finish(),
        )  # fmt: skip


def halved(stage: Path) -> None:
    """Make ``camvid_half``: every second image by name, means of 2×2 pixels, every second label."""
    import numpy as np
    from PIL import Image

    for part in ("train", "val", "test"):
        for kind in (part, f"{part}annot"):
            (stage / "camvid_half" / kind).mkdir(parents=True)
            for path in sorted((stage / "CamVid" / kind).iterdir())[::2]:
                pixels = np.array(read_image(path) if kind == part else read_mask(path)).astype(np.uint16)
                if kind == part:
                    four = np.stack([pixels[i::2, j::2] for i in (0, 1) for j in (0, 1)])
                    small = (four.sum(0) + 2) // 4
                else:
                    small = pixels[::2, ::2]
                Image.fromarray(small.astype(np.uint8)).save(stage / "camvid_half" / kind / path.name)
    shutil.rmtree(stage / "CamVid")


ENTRIES = {
    "camvid": DataSet(
        "367 + 101 + 233 street scenes, 480×360, 11 classes and void; SegNet's folder CamVid",
        CamVid("CamVid", (367, 101, 233), (360, 480)).load,
        "segmentation",
        origin("camvid"),
    ),
    "camvid_half": DataSet(
        "every second image of CamVid at half size: 184 + 51 + 117, 240×180; folder camvid_half",
        CamVid("camvid_half", (184, 51, 117), (180, 240)).load,
        "segmentation",
        origin("camvid_half", halved),
    ),
}
