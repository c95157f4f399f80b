"""A user's own images: ``PATH/{train,test}/CLASS/*.png`` (or ``val``), or ``PATH/CLASS/*.png``.

If the first image has at most 64 pixels a side, all images must have its size and are kept in memory like CIFAR's;
larger images may differ in size and are read from their files at 224×224 like ImageNet's. Images are mirrored in
training, unless the trial does not augment.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bevel_lab.data.images import LabeledFiles, LabeledImageFiles, LabeledImages, LabeledTensors
from bevel_lab.data.images.image_file import read_image
from bevel_lab.data.source import Source
from bevel_lab.datasets._files import pictures
from bevel_lab.datasets._listing import files_of
from bevel_lab.datasets._own import drawn, own, part_to_test

IN_MEMORY_SIDE = 64
"""Largest side of images that are kept in memory."""


def _load(path: Path, source: Source) -> LabeledImages | LabeledImageFiles:
    train, test, classes, note = _parts(path)
    if max(read_image(train.root / train.names[0]).size) > IN_MEMORY_SIDE:
        return LabeledImageFiles(train, test, classes=len(classes), note=note)
    first = pictures([train.root / train.names[0]])
    size = first.shape[2], first.shape[3]
    seen, unseen = (
        LabeledTensors(pictures(p.paths(), size), p.labels, [f"{p.root.name}/{name}" for name in p.names])
        for p in (train, test)
    )
    return LabeledImages(seen, unseen, classes=len(classes), flips=True, note=note)


def _parts(path: Path) -> tuple[LabeledFiles, LabeledFiles, list[str], str]:
    """Training and test files, class names, and a note if the test part was drawn, else an empty one."""
    if (path / "train").is_dir():
        train, classes = files_of(path / "train")
        part = part_to_test(path, ", or put the classes directly into it")
        return train, files_of(path / part, classes)[0], classes, ""
    whole, classes = files_of(path)
    train_numbers, test_numbers, note = drawn(path, whole.labels)
    return _some(whole, train_numbers), _some(whole, test_numbers), classes, note


def _some(files: LabeledFiles, numbers: Tensor) -> LabeledFiles:
    return LabeledFiles(files.root, [files.names[i] for i in numbers.tolist()], files.labels[numbers])


ENTRIES = {"folder": own("folder", "images", "PATH/{train,test}/CLASS/*.png or PATH/CLASS/*.png", _load)}
