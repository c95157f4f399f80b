"""PASCAL VOC (Everingham et al. 2010) and whatever has its layout.

``JPEGImages/NAME.jpg``, ``Annotations/NAME.xml`` and ``ImageSets/Main/PART.txt``, a name a line. Coordinates are taken
as edges, as torchvision does; objects marked difficult are neither learned nor counted.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.data.images.boxes import BoxedImages, ImageWithBoxes
from bevel_lab.data.invalid import DataNote, InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet, _xml
from bevel_lab.datasets._boxes import BoxAnnotation, sample
from bevel_lab.datasets._files import check_counts, check_folder, read_lines
from bevel_lab.datasets._listing import check_forms
from bevel_lab.datasets._origins import origin
from bevel_lab.datasets._own import own
from bevel_lab.errors import LabError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
PHOTOGRAPHS = "photographs with boxes of 20 classes, from files"
DIFFICULT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
SUFFIXES = (".jpg", ".jpeg", ".png")

Entry = tuple[Path, list[BoxAnnotation], "tuple[int, int] | None"]
"""An image, its objects, and the (height, width) that its annotation claims."""


@dataclass(frozen=True)
class Voc:
    """What must be there.

    Attributes:
        train, test: (folder below the data root, part) of the lists of names that make the parts.
        counts: numbers of images that must be listed: nothing else tells a part from the whole.
        classes: names of the labels.
    """

    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    counts: tuple[int, int]
    classes: tuple[str, ...] = CLASSES

    def load(self, source: Source) -> BoxedImages:
        """Read the annotations; raises ``LabError`` naming what is missing, or wrong by file and line."""
        for folder, _ in (*self.train, *self.test):
            check_folder(source.root / folder)
        root = (source.root / self.test[0][0]).parent
        names = [
            [(source.root / folder, name) for folder, part in parts for name in listed(source.root / folder, part)]
            for parts in (self.train, self.test)
        ]
        found = {"training images": len(names[0]), "test images": len(names[1])}
        check_counts(root, found, self.counts, "name what is there folder_voc:PATH")
        invalid = InvalidSamples(source.skip_invalid, root)
        return _assembled([_entries(part, invalid) for part in names], self.classes, invalid)


def listed(folder: Path, part: str) -> list[str]:
    """The names in ``ImageSets/Main/PART.txt``; raises ``LabError`` where there are none."""
    path = _list(folder, part)
    lines = read_lines(path, "it has the names of the images, one a line")
    names = [_name(folder, line.strip()) for line in lines if line.strip()]
    if not names:
        raise LabError(f"{path} names no image; it has one a line.")
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise LabError(f"{path} names {name!r} {count} times; name each image once.")
    return names


def _name(folder: Path, line: str) -> str:
    """The name in a line without the -1, 0 or 1 that lists of a class add, unless that belongs to it."""
    name = re.sub(r"\s+-?[01]$", "", line)
    return line if name != line and _annotation(folder, line).is_file() else name


def _annotation(folder: Path, name: str) -> Path:
    return folder / "Annotations" / f"{name}.xml"


def _entries(names: Sequence[tuple[Path, str]], invalid: InvalidSamples) -> list[Entry]:
    found = []
    images = {folder: _images(folder / "JPEGImages") for folder in {folder for folder, _ in names}}
    for folder, name in names:
        path = _annotation(folder, name)
        try:
            root = _xml.read(path)
        except LabError as error:
            if not path.exists() and path.parent.is_dir():
                check_forms(path.parent, [path.name, *(other.name for other in path.parent.iterdir())])
            invalid.add(str(error), "fetch it again")
            continue
        things = [thing for thing in (_thing(path, element, invalid) for element in root.all("object")) if thing]
        image = images[folder].get(name, folder / "JPEGImages" / f"{name}.jpg")
        found.append((image, things, _size(root)))
    return found


def _images(folder: Path) -> dict[str, Path]:
    """The image files by their names without suffixes; of two with one name the suffix that comes first counts."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    return {path.stem: path for path in sorted(found, key=lambda path: -SUFFIXES.index(path.suffix.lower()))}


def _size(root: _xml.Element) -> tuple[int, int] | None:
    texts = [found.text if (found := root.first(f"size/{key}")) else "" for key in ("height", "width")]
    return (int(texts[0]), int(texts[1])) if all(text.strip().isdecimal() for text in texts) else None


def _thing(path: Path, element: _xml.Element, invalid: InvalidSamples) -> BoxAnnotation | None:
    def number(key: str) -> float:
        found = element.first(f"bndbox/{key}")
        return float(found.text) if found else float("")

    name, difficult = element.first("name"), element.first("difficult")
    where = f"{path}:{element.line}"
    try:
        box = number("xmin"), number("ymin"), number("xmax"), number("ymax")
    except ValueError:
        invalid.add(f"{where}: the object has no bndbox of four numbers", "give xmin, ymin, xmax and ymax")
        return None
    if name is None or not name.text.strip():
        invalid.add(f"{where}: the object has no name", "give its class")
        return None
    said = difficult.text.strip().lower() if difficult else ""
    if said not in DIFFICULT:
        invalid.add(f"{where}: the object's difficult is {said!r}", "write 0 or 1")
        return None
    return BoxAnnotation(where, name.text.strip(), box, DIFFICULT[said])


def _assembled(
    parts: Sequence[list[Entry]], classes: tuple[str, ...], invalid: InvalidSamples, note: str = ""
) -> BoxedImages:
    labels = {name: number for number, name in enumerate(classes, 1)}
    made: list[list[ImageWithBoxes]] = []
    for part in parts:
        found = [sample(path, things, labels, invalid, size) for path, things, size in part]
        made.append([one for one in found if one is not None])
    return BoxedImages(made[0], made[1], classes, note, invalid.finish())


def _own(path: Path, source: Source) -> BoxedImages:
    """A user's folder: its training part says which classes there are."""
    chosen = [_part(path, ("trainval", "train")), _part(path, ("test", "val"))]
    if chosen == ["trainval", "val"]:
        raise LabError(f"{path} has trainval but no test part; name its images in ImageSets/Main/test.txt.")
    if chosen == ["train", "test"] and _list(path, "val").is_file():
        note = f"{path} has lists test and val; it is tested on test, and val is not read"
        warnings.warn(note, DataNote, stacklevel=2)
    invalid = InvalidSamples(source.skip_invalid, path)
    parts = [_entries([(path, name) for name in listed(path, part)], invalid) for part in chosen]
    classes = sorted({thing.name for _, things, _ in parts[0] for thing in things})
    check_forms(path, classes)
    return _assembled(parts, tuple(classes), invalid, f"trained on {chosen[0]}, tested on {chosen[1]} of {path.name}")


def _part(path: Path, names: tuple[str, str]) -> str:
    first, second = names
    return first if _list(path, first).is_file() else second


def _list(folder: Path, part: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{part}.txt"


def _bccd(source: Source) -> BoxedImages:
    """Raises ``LabError`` as :meth:`Voc.load`; a copy in VOC's own folder is read as well."""
    there = [name for name in ("BCCD", "VOCdevkit/VOC2007") if (source.root / name).is_dir()]
    folder = [*there, "BCCD"][0]
    cells = Voc(((folder, "trainval"),), ((folder, "test"),), (292, 72), ("RBC", "WBC", "Platelets"))
    return cells.load(source)


def _pascal(name: str, summary: str, data: Voc) -> DataSet:
    return DataSet(summary, data.load, "detection", origin(name))


_2007, _TEST, _2012 = ("VOCdevkit/VOC2007", "trainval"), ("VOCdevkit/VOC2007", "test"), "VOCdevkit/VOC2012"
_VOC2012 = Voc(((_2012, "train"),), ((_2012, "val"),), (5717, 5823))
ENTRIES = {
    "voc2007": _pascal("voc2007", f"5,011 + 4,952 {PHOTOGRAPHS}", Voc((_2007,), (_TEST,), (5011, 4952))),
    "voc2012": _pascal("voc2012", f"5,717 + 5,823 {PHOTOGRAPHS}; tested on its validation part", _VOC2012),
    "voc0712": _pascal(
        "voc0712",
        f"both years' 16,551 + 4,952 of 2007 {PHOTOGRAPHS}",
        Voc((_2007, (_2012, "trainval")), (_TEST,), (16551, 4952)),
    ),
    "bccd": DataSet(
        "292 + 72 microscope images of blood with boxes of 3 kinds of cells, in VOC's layout, from files",
        _bccd,
        "detection",
        origin("bccd"),
    ),
    "folder_voc": own("folder_voc", "images and boxes", "in VOC's layout", _own, "detection"),
}
