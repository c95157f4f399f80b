"""A user's own images with masks: ``PATH/{train,val,test}/{images,masks}/NAME.*``, or ``PATH/{images,masks}/NAME.*``.

A mask has the name of its image and its size, and holds the number of a class for every pixel, 255 for void. The
names of the classes, one a line in the order of their numbers, are in ``PATH/classes.txt``. All images have one size.
Without a test part ``val`` is it; without either a fixed fifth is drawn.
"""

from __future__ import annotations

import colorsys
import warnings
from functools import partial
from pathlib import Path

import torch

from bevel_lab.data.images.masks import VOID, Color, MaskedImages, SegmentationDataset, cropped
from bevel_lab.data.invalid import DataNote, InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._masks import Pair, numbered, paired, scenes
from bevel_lab.errors import LabError
from bevel_lab.registry import ParametricEntry
from bevel_lab.runtime.rng import SHARED, generator

TEST = 0.2
"""Fraction of a folder without a test part that is drawn to be one; the same in every trial."""


def _load(path: Path, source: Source) -> MaskedImages:
    if not path.is_dir():
        raise LabError(f"there is no folder {path}; folder_masks: takes a path from where bevel is started.")
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
    try:
        found = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"{path} cannot be read ({error}); write the name of a class on every line, in the order of their numbers "
            "in the masks."
        ) from error
    if not 2 <= len(found) <= VOID or len({*found}) < len(found):
        raise LabError(f"{path} names {len(found)} classes; it takes 2 … {VOID}, each once.")
    return found


def _parts(path: Path, invalid: InvalidSamples) -> tuple[list[list[Pair]], str]:
    """Training and test pairs and, if there are, those for validation; a note where the test part had to be drawn."""

    def pairs(folder: Path) -> list[Pair]:
        return paired(folder / "images", folder / "masks", invalid)

    there = [name for name in ("train", "val", "test") if (path / name).is_dir()]
    if there and (path / "images").is_dir():
        raise LabError(
            f"{path} has images and masks beside {', '.join(there)}, which would not be read; put them into train, or "
            "move either away."
        )
    if "train" in there:
        others = [path / name for name in ("test", "val") if name in there]
        if not others:
            raise LabError(f"{path} has train but neither test nor val; add one, or put images and masks into it.")
        return [pairs(path / "train"), *map(pairs, others)], ""
    found = pairs(path)
    count = max(1, round(TEST * len(found)))
    if len(found) < 3:
        raise LabError(f"{path} has {len(found)} pairs; at least three are needed: to train, validate and test.")
    order = torch.randperm(len(found), generator=generator(SHARED, "folder test part")).tolist()
    note = f"a fixed test part of {count} pictures was drawn: {path} has none"
    warnings.warn(note, DataNote, stacklevel=2)
    return [[found[i] for i in sorted(order[count:])], [found[i] for i in sorted(order[:count])]], note


def _several(path: Path, train: SegmentationDataset) -> None:
    """Raise where all that is to be learnt is one class: a mask in black and white, most likely."""
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


def _of(argument: str) -> DataSet:
    return DataSet(f"the images and masks in {argument}", partial(_load, Path(argument)), "segmentation")


ENTRIES = {
    "folder_masks": ParametricEntry[DataSet](
        "your own images with masks, PATH/{train,test}/{images,masks}/NAME.png and PATH/classes.txt",
        "folder_masks:PATH",
        _of,
        "segmentation",
    )
}
