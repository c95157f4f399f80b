"""Tiny ImageNet (Stanford CS231n): 200 classes of ImageNet at 64×64; and parts of it, at any size.

The layout is its own: ``wnids.txt``, ``train/WNID/images/*.JPEG``, ``val/images/*.JPEG`` with ``val_annotations.txt``.
Copies with one folder a class (``train/WNID/*.JPEG``, ``val/WNID/*.JPEG``) are read as well. The test part is ``val``:
the labels of the real test part were never published.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import pictures, read_lines
from bevel_lab.datasets._listing import check_classes, in_class, inside, say_passed_over
from bevel_lab.datasets._origins import origin
from bevel_lab.errors import LabError

AGAIN = "unpack tiny-imagenet-200.zip again"


@dataclass(frozen=True)
class TinyImageNet:
    """Folder and contents.

    Attributes:
        folder: its name; with a ``*`` the one that matches.
        counts: images in the training and the validation part of a class; None: any.
        size: (height, width); None: any that all images share.
        classes: how many there are; None: any number.
    """

    folder: str
    counts: tuple[int, int] | None
    size: tuple[int, int] | None
    classes: int | None = None

    def load(self, source: Source) -> LabeledImages:
        """Read it whole; raises ``LabError`` naming what is missing, damaged, or of no known class."""
        root = self._root(source)
        classes = _lines(root / "wnids.txt")
        check_classes(root / "wnids.txt", classes)
        if self.classes not in (None, len(classes)):
            raise LabError(
                f"{root / 'wnids.txt'} lists {len(classes)} classes, not {self.classes}; {AGAIN}, or for a part of it "
                "ask for tiny_imagenet_subset."
            )
        train, test = _training(root, classes), _validation(root, classes)
        for part, labels, each in zip(("train", "val"), (train[1], test[1]), self.counts or (0, 0), strict=True):
            _counted(root / part, labels, classes, each)
        size = self.size or pictures(train[0][:1]).shape[2:]
        seen, unseen = (
            LabeledTensors(pictures(paths, (size[0], size[1])), labels, [str(path.relative_to(root)) for path in paths])
            for paths, labels in (train, test)
        )
        note = "" if self.counts else f"what {root.name} holds, not verified to be the original"
        return LabeledImages(seen, unseen, classes=len(classes), flips=True, note=note)

    def _root(self, source: Source) -> Path:
        found = sorted(path for path in source.root.glob(self.folder) if path.is_dir())
        if len(found) != 1:
            what = f"{len(found)} folders {self.folder}" if found else f"no folder {self.folder}"
            more = ", or --download to fetch it" if self.counts and not found else ""
            raise LabError(f"{source.root} has {what}; pass --data-root with the folder that holds one{more}.")
        return found[0]


def _lines(path: Path) -> list[str]:
    return sorted(line for line in read_lines(path, AGAIN) if line)


def _counted(folder: Path, labels: Tensor, classes: list[str], each: int) -> None:
    """Raise where a class has not ``each`` images; 0: at least one."""
    for wnid, found in zip(classes, torch.bincount(labels, minlength=len(classes)).tolist(), strict=True):
        if not found or (each and found != each):
            raise LabError(
                f"{folder} has {found} images of {wnid}, not {each or 'any'}; {AGAIN}, or for a part of it ask for "
                "tiny_imagenet_subset."
            )


def _folders(folder: Path, classes: list[str]) -> dict[str, Path]:
    """The folder of every class; raises where one is missing or has an unknown name."""
    there = {path.name for path in inside(folder) if path.is_dir()} if folder.is_dir() else set()
    for wnid in sorted(there - set(classes)):
        raise LabError(f"{folder / wnid} is of no class in wnids.txt; {AGAIN}, or delete it.")
    for wnid in sorted(set(classes) - there):
        raise LabError(f"{folder / wnid} does not exist; {AGAIN}.")
    inner = {wnid: folder / wnid / "images" for wnid in classes}
    return {wnid: path if path.is_dir() else path.parent for wnid, path in inner.items()}


def _training(root: Path, classes: list[str], part: str = "train") -> tuple[list[Path], Tensor]:
    paths, labels = [], []
    others: Counter[str] = Counter()
    for label, (wnid, folder) in enumerate(_folders(root / part, classes).items()):
        files = [path for path in inside(folder) if path.is_file()]
        found = [path for path in files if path.suffix == ".JPEG"]
        others.update(path.suffix for path in files if path.suffix not in (".JPEG", ".txt"))  # .txt: boxes
        for path in found:
            in_class(path, wnid)
        paths += found
        labels += [label] * len(found)
    say_passed_over(root / part, others)
    return paths, torch.tensor(labels, dtype=torch.int64)


def _validation(root: Path, classes: list[str]) -> tuple[list[Path], Tensor]:
    notes = root / "val" / "val_annotations.txt"
    if not notes.is_file():
        return _training(root, classes, "val")
    number = {wnid: label for label, wnid in enumerate(classes)}
    paths, labels = [], []
    for line in _lines(notes):
        name, wnid = [*line.split("\t"), ""][:2]
        if wnid not in number:
            raise LabError(f"{notes} gives {name!r} the class {wnid!r}, which wnids.txt has not; {AGAIN}.")
        paths.append(root / "val" / "images" / name)
        labels.append(number[wnid])
    return paths, torch.tensor(labels, dtype=torch.int64)


WHOLE = TinyImageNet("tiny-imagenet-200", (500, 50), (64, 64), 200)
SUBSET = TinyImageNet("tiny-imagenet-*", None, None)

ENTRIES = {
    "tiny_imagenet": DataSet(
        "100,000 + 10,000 photographs, 64×64, 200 classes; the whole original",
        WHOLE.load,
        origin=origin("tiny_imagenet"),
    ),
    "tiny_imagenet_subset": DataSet(
        "Tiny ImageNet, as much of it as is there, of one size",
        SUBSET.load,
        origin=origin("tiny_imagenet_subset"),
    ),
}
