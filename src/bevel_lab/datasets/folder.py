"""A user's own images: ``PATH/{train,test}/CLASS/*.png`` (or ``val``), or ``PATH/CLASS/*.png``.

Where the first picture has at most 64 pixels a side all must have its size, and they are held in memory like
CIFAR's; larger ones may differ in size and are streamed at 224×224 like ImageNet's. Pictures are mirrored in
training, unless the trial does not augment.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from torch import Tensor

from bevel_lab.data.images import LabeledFiles, LabeledImageFiles, LabeledImages, LabeledTensors, stratified
from bevel_lab.data.images.from_files import read_image
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import pictures
from bevel_lab.datasets._listing import files_of
from bevel_lab.errors import LabError
from bevel_lab.registry import ParametricEntry
from bevel_lab.runtime.rng import SHARED, generator

IN_MEMORY_SIDE = 64
"""Largest side of pictures that are held in memory."""
TEST = 0.2
"""Fraction of a folder without a test part that is drawn to be one; the same in every trial."""


def _load(path: Path, source: Source) -> LabeledImages | LabeledImageFiles:
    if not path.is_dir():
        raise LabError(f"there is no folder {path}; folder: takes a path from where bevel is started.")
    train, test, classes, note = _parts(path)
    if max(read_image(train.root / train.names[0]).size) > IN_MEMORY_SIDE:
        return LabeledImageFiles(train, test, classes=len(classes), note=note)
    first = pictures([train.root / train.names[0]])
    size = first.shape[2], first.shape[3]
    held, unseen = (
        LabeledTensors(pictures([p.root / name for name in p.names], size), p.labels) for p in (train, test)
    )
    return LabeledImages(held, unseen, classes=len(classes), flips=True, note=note)


def _parts(path: Path) -> tuple[LabeledFiles, LabeledFiles, list[str], str]:
    """Training and test files, class names, and a note where the test part had to be drawn."""
    if (path / "train").is_dir():
        train, classes = files_of(path / "train")
        others = [path / name for name in ("test", "val") if (path / name).is_dir()]
        if not others:
            raise LabError(f"{path} has train but neither test nor val; add one, or put the classes directly into it.")
        return train, files_of(others[0], classes)[0], classes, ""
    whole, classes = files_of(path)
    drawn, rest = stratified(whole.labels, max(1, round(TEST * len(whole))), generator(SHARED, "folder test part"))
    note = f"a fixed test part of {len(drawn)} pictures was drawn: {path} has none"
    warnings.warn(note, DataNote, stacklevel=2)
    return _some(whole, rest), _some(whole, drawn), classes, note


def _some(files: LabeledFiles, numbers: Tensor) -> LabeledFiles:
    return LabeledFiles(files.root, [files.names[i] for i in numbers.tolist()], files.labels[numbers])


def _of(argument: str) -> DataSet:
    return DataSet(f"the images in {argument}", partial(_load, Path(argument)))


ENTRIES = {
    "folder": ParametricEntry[DataSet](
        "your own images, PATH/{train,test}/CLASS/*.png or PATH/CLASS/*.png", "folder:PATH", _of
    )
}
