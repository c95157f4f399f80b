"""A user's own images with masks: ``PATH/{train,val,test}/{images,masks}/NAME.*``, or ``PATH/{images,masks}/NAME.*``.

A mask has the name of its image and its size, and holds the number of a class for every pixel, 255 for void. The
names of the classes, one a line in the order of their numbers, are in ``PATH/classes.txt``. All images have one size.
Without a test part ``val`` is it; without either a fixed fifth is drawn.
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import torch

from bevel_lab.data.images.masks import VOID, Color, MaskedImages, SegmentationDataset, cropped
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets._files import read_lines
from bevel_lab.datasets._listing import check_forms
from bevel_lab.datasets._masks import Pair, numbered, paired, scenes
from bevel_lab.datasets._own import drawn, held_out, own
from bevel_lab.errors import LabError


def _load(path: Path, source: Source) -> MaskedImages:
    names = _names(path / "classes.txt")
    invalid = InvalidSamples(source.skip_invalid, path)
    parts, note = _parts(path, invalid)
    train, test, *validation = scenes(parts, numbered(len(names)), None, invalid)
    _several(path, train)
    shape = train.read(0).shape
    size = shape[1], shape[2]
    return MaskedImages(
        train, test, validation[0] if validation else None, names, colors(len(names)), size, cropped(size), note,
        invalid.finish(),
    )  # fmt: skip


def _names(path: Path) -> tuple[str, ...]:
    remedy = "write the name of a class on every line, in the order of their numbers in the masks"
    found = [line.strip() for line in read_lines(path, remedy)]
    while found and not found[-1]:
        found.pop()
    if "" in found:
        raise LabError(
            f"{path}, line {found.index('') + 1} is blank, so the classes after it have unclear numbers; delete it, or "
            "write a name there."
        )
    if not 2 <= len(found) <= VOID or len({*found}) < len(found):
        raise LabError(f"{path} names {len(found)} classes; it takes 2 … {VOID}, each once.")
    check_forms(path, found)
    return tuple(found)


def _parts(path: Path, invalid: InvalidSamples) -> tuple[list[list[Pair]], str]:
    """The pairs of the training and the test part and, if there is one, of the validation part; and a note if the test
    part was drawn, else an empty one."""

    def pairs(folder: Path) -> list[Pair]:
        return paired(folder / "images", folder / "masks", invalid)

    there = [name for name in ("train", "val", "test") if (path / name).is_dir()]
    if there and (path / "images").is_dir():
        raise LabError(
            f"{path} has images and masks beside {', '.join(there)}, which would not be read; put them into train, or "
            "move either away."
        )
    if "train" in there:
        others = held_out(path, ", or put images and masks into it")
        return [pairs(path / name) for name in ("train", *others)], ""
    found = pairs(path)
    if len(found) < 3:
        raise LabError(f"{path} has {len(found)} pairs; at least three are needed: to train, validate and test.")
    train, test, note = drawn(path, torch.zeros(len(found), dtype=torch.int64))
    return [[found[i] for i in part.tolist()] for part in (train, test)], note


def _several(path: Path, train: SegmentationDataset) -> None:
    """Raise if the training masks have one class only; most likely they are black and white, with 255 for the other."""
    if train.in_memory is not None:
        there = torch.bincount(train.in_memory[:, 3].flatten(), minlength=VOID + 1)[:VOID].nonzero().flatten().tolist()
        if len(there) == 1:
            raise LabError(
                f"the training masks of {path} hold class {there[0]} and void ({VOID}) only; write the second class "
                "as its number."
            )


def colors(count: int) -> list[Color]:
    """As many colors as far apart as the golden ratio puts them."""
    found = []
    for k in range(count):
        red, green, blue = colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.75, 0.95 if k % 2 else 0.65)
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return found


LAYOUT = "PATH/{train,test}/{images,masks}/NAME.png and PATH/classes.txt"
ENTRIES = {"folder_masks": own("folder_masks", "images with masks", LAYOUT, _load, "segmentation")}
