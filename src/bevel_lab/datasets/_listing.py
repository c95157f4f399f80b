"""Lists pictures in folders, one folder a class, by torchvision's ``ImageFolder``."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from bevel_lab.data.images import LabeledFiles
from bevel_lab.data.images.image_file import image_size
from bevel_lab.errors import LabError

LOOKED_AT = 100
"""How many headers of images are read, at most, before training."""
_WNID = re.compile(r"(n\d{8})_")


def files_of(folder: Path, classes: list[str] | None = None) -> tuple[LabeledFiles, list[str]]:
    """The image files below ``folder`` and the names of the classes, in order.

    Args:
        folder: ``CLASS/*.png`` and whatever else torchvision reads, at any depth below a class.
        classes: the names that must be there; any by default.

    Raises:
        LabError: where there is none, a class has no picture, or the classes are others.
    """
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder), loader=lambda path: path)
    except OSError as error:
        raise LabError(f"{folder} is no folder with one folder of pictures a class ({error}).") from error
    if classes is not None and found.classes != classes:
        odd = sorted({*classes} ^ {*found.classes})[0]
        where = "only there" if odd in found.classes else "not there"
        raise LabError(f"{folder} must have the classes of the training part; {odd!r} is {where}.")
    names = [str(Path(path).relative_to(folder)) for path, _ in found.samples]
    for name in names[:: len(names) // LOOKED_AT + 1]:  # worker processes, which read the others, give no notes
        image_size(folder / name)
    return LabeledFiles(folder, names, torch.tensor(found.targets)), found.classes


def in_class(path: Path, wnid: str) -> None:
    """Raise ``LabError`` where ``path`` is named after another class than ``wnid``; ImageNet's training files are."""
    named = _WNID.match(path.name)
    if named and named[1] != wnid:
        raise LabError(f"{path} is of {named[1]} by its name and of {wnid} by its folder; move it, or unpack again.")
