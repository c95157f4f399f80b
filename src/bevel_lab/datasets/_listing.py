"""Lists the images in folders, one folder a class, in the order of torchvision's ``ImageFolder``."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from bevel_lab.data.images import LabeledFiles
from bevel_lab.data.images.image_file import image_size
from bevel_lab.data.invalid import DataNote
from bevel_lab.errors import LabError

LOOKED_AT = 100
"""How many headers of images are read, at most, before training."""
_WNID = re.compile(r"(n\d{8})_")


def inside(folder: Path) -> list[Path]:
    """What lies in a folder, in order, without what is hidden and what macOS adds to archives."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden by its name, or one that macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def files_of(folder: Path, classes: list[str] | None = None) -> tuple[LabeledFiles, list[str]]:
    """The image files below ``folder`` and the names of the classes, in order; warns of files of other kinds.

    Args:
        folder: ``CLASS/*.png`` and whatever else torchvision reads, at any depth below a class.
        classes: the names that must be there; any by default.

    Raises:
        LabError: where there is one class or none, one has no image, the classes are others, or links make a circle.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    kinds = [path for path in inside(folder) if path.is_dir()] if folder.is_dir() else []
    if not kinds:
        raise LabError(f"{folder} has no folder of images for each class; make them.")
    check_classes(folder, [kind.name for kind in kinds], classes)
    names: list[str] = []
    labels: list[int] = []
    others: Counter[str] = Counter()
    for label, kind in enumerate(kinds):
        files = sorted(_below(kind, (folder.resolve(),)), key=lambda path: (str(path.parent), path.name))
        found = [path for path in files if path.suffix.lower() in IMG_EXTENSIONS]
        others.update(path.suffix for path in files if path.suffix.lower() not in IMG_EXTENSIONS)
        if not found:
            raise LabError(f"{kind} has no image ({', '.join(IMG_EXTENSIONS)}); add some, or delete it.")
        names += [str(path.relative_to(folder)) for path in found]
        labels += [label] * len(found)
    say_passed_over(folder, others)
    for name in names[:: len(names) // LOOKED_AT + 1]:  # worker processes, which read the others, give no notes
        image_size(folder / name)
    return LabeledFiles(folder, names, torch.tensor(labels)), [kind.name for kind in kinds]


def say_passed_over(folder: Path, suffixes: Counter[str]) -> None:
    """Warn of files below ``folder`` that are not read, if there are any, by the numbers of their suffixes."""
    if suffixes:
        said = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(suffixes.items()))
        count = suffixes.total()
        of, how = ("1 file", "is no image that is") if count == 1 else (f"{count} files", "are no images that are")
        what = f"{of} below {folder} {how} read here, and passed over: {said}"
        warnings.warn(what, DataNote, stacklevel=2)


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files in a folder and its folders; ``above`` are the real paths of those that it lies in."""
    real = folder.resolve()
    if real in above or real in above[0].parents:
        raise LabError(f"{folder} is a link to a folder that it lies in; delete it.")
    for path in inside(folder):
        if path.is_dir():
            yield from _below(path, (*above, real))
        else:
            yield path


def check_classes(folder: Path, found: list[str], classes: list[str] | None = None) -> None:
    """Raise if the classes of a training part (``classes`` None) are fewer than two, or a test part has others."""
    check_forms(folder, {*found, *(classes or ())})
    if classes is None and len(found) == 1:
        raise LabError(f"{folder} has one class, {found[0]!r}; a classifier needs two.")
    for name in sorted({*found} ^ {*(classes or found)}):
        where = "only there" if name in found else "not there"
        raise LabError(f"{folder} must have the classes of the training part; {name!r} is {where}.")


def check_forms(where: object, names: Iterable[str]) -> None:
    """Raise if two of ``names`` are one name in two Unicode forms, which look the same."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            first, second = sorted((name, other))
            raise LabError(
                f"{where}: {first!a} and {second!a} look alike and differ by their Unicode form; rename one."
            )


def in_class(path: Path, wnid: str) -> None:
    """Raise ``LabError`` where ``path`` is named after another class than ``wnid``; ImageNet's training files are."""
    named = _WNID.match(path.name)
    if named and named[1] != wnid:
        raise LabError(f"{path} is of {named[1]} by its name and of {wnid} by its folder; move it, or unpack again.")
