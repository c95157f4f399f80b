"""COCO (Lin et al. 2014), instances: ``{train,val}2017/*.jpg`` and ``annotations/instances_{train,val}2017.json``.

Crowds are neither learned nor counted as objects; a detection on a crowd is no error, by COCO's own rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel_lab.data.images.boxes import BoxedImages, ImageWithBoxes
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._boxes import BoxAnnotation, sample
from bevel_lab.datasets._files import check_counts, check_folder, read_json
from bevel_lab.datasets._listing import check_forms
from bevel_lab.datasets._origins import origin
from bevel_lab.datasets._own import own
from bevel_lab.errors import LabError

PARTS = ("train2017", "val2017")
_KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class _File:
    """An annotation file, read: its path, and the lists under its three keys."""

    path: Path
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]

    @classmethod
    def read(cls, path: Path) -> _File:
        """Raises ``LabError`` naming the file, and the line where it is no JSON."""
        content = read_json(path, "fetch it again")
        lists = [content.get(key) for key in _KEYS] if isinstance(content, dict) else []
        found = [value for value in lists if isinstance(value, list) and value]
        if len(found) != len(_KEYS):
            raise LabError(f"{path} is no file of COCO's instances; it has lists of {', '.join(_KEYS)}.")
        file = cls(path, *found)
        for key, field, kind in (("images", "id", int), ("categories", "id", int), ("categories", "name", str)):
            file._check_unique(key, field, kind)
        file._check_unique("images", "file_name", str, optional=True)
        return file

    def _check_unique(self, key: str, field: str, kind: type, optional: bool = False) -> None:
        """Raise where an entry has no ``field`` of this kind, unless that is optional, or two have the same."""
        seen: dict[Any, int] = {}
        for index, entry in enumerate(getattr(self, key)):
            value = entry.get(field) if isinstance(entry, dict) else entry
            if type(value) is not kind:  # not isinstance: true is no number
                if optional:
                    continue
                wanted = "a whole number" if kind is int else "a text"
                raise LabError(f"{self.path}: {key}[{index}] has no {field}, {wanted}; it has {value!r}.")
            if (first := seen.setdefault(value, index)) != index:
                both = f"{key}[{first}] and {key}[{index}]"
                raise LabError(f"{self.path}: {both} have one {field}, {value!r}; delete one of them.")

    def classes(self) -> dict[int, str]:
        """Names by category number, in the order of the numbers."""
        check_forms(self.path, [entry["name"] for entry in self.categories])
        return dict(sorted((entry["id"], entry["name"]) for entry in self.categories))

    def things(self, invalid: InvalidSamples) -> dict[int, list[BoxAnnotation]]:
        """The objects by the number of their image; an image without any has an empty list."""
        classes, ids = self.classes(), dict[int, int]()
        found: dict[int, list[BoxAnnotation]] = {entry["id"]: [] for entry in self.images}
        for index, entry in enumerate(self.annotations):
            where = f"{self.path}: annotations[{index}]"
            if fault := _fault(entry):
                invalid.add(f"{where} {fault}", "give bbox four numbers, ids whole ones, and iscrowd 0 or 1")
            elif (image := entry["image_id"]) not in found:
                invalid.add(f"{where} is of image {image}, which is not among the images", "add it")
            elif "id" in entry and (first := ids.setdefault(entry["id"], index)) != index:
                both = f"annotations[{first}] and annotations[{index}]"
                invalid.add(f"{self.path}: {both} have one id, {entry['id']!r}", "delete one of them")
            else:
                left, top, width, height = entry["bbox"]
                # a category that nobody named is told by its number
                name = classes.get(entry["category_id"], f"category {entry['category_id']}")
                box = (left, top, left + width, top + height)
                found[image].append(BoxAnnotation(where, name, box, bool(entry.get("iscrowd"))))
        return found


def _fault(entry: Any) -> str:
    """What an annotation has that the format does not know; "" if nothing."""
    if not isinstance(entry, dict):
        return f"is {entry!r}"
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or any(type(edge) not in (int, float) for edge in box):
        return f"has bbox {box!r}"
    for field in ("id", "image_id", "category_id"):
        if type(entry.get(field, 0 if field == "id" else None)) is not int:
            return f"has {field} {entry.get(field)!r}"
    crowd = entry.get("iscrowd", 0)
    return "" if type(crowd) in (int, bool) and crowd in (0, 1) else f"has iscrowd {crowd!r}"


def _load(folder: Path, counts: tuple[int, int] | None, source: Source) -> BoxedImages:
    """Read both parts of ``folder``; raises ``LabError`` naming what is missing, or wrong by file and entry."""
    check_folder(folder, "it holds train2017, val2017 and annotations")
    invalid = InvalidSamples(source.skip_invalid, folder)
    files = [_File.read(folder / "annotations" / f"instances_{part}.json") for part in PARTS]
    if counts:
        found = {"training images": len(files[0].images), "validation images": len(files[1].images)}
        check_counts(folder, found, counts, f"name what is there folder_coco:{folder}")
    classes = files[0].classes()
    labels = {name: number for number, name in enumerate(classes.values(), 1)}
    parts: list[list[ImageWithBoxes]] = []
    for part, file in zip(PARTS, files, strict=True):
        things = file.things(invalid)
        made = (_one(folder / part, file, i, things, labels, invalid) for i in range(len(file.images)))
        parts.append([one for one in made if one is not None])
    return BoxedImages(parts[0], parts[1], tuple(classes.values()), "tested on val2017", invalid.finish())


def _one(
    folder: Path,
    file: _File,
    index: int,
    things: dict[int, list[BoxAnnotation]],
    labels: dict[str, int],
    invalid: InvalidSamples,
) -> ImageWithBoxes | None:
    entry = file.images[index]
    name = entry.get("file_name")
    # a name with a folder in it could point anywhere
    if not isinstance(name, str) or name != Path(name).name:
        invalid.add(f"{file.path}: images[{index}] has file_name {name!r}", f"give the name of a file in {folder.name}")
        return None
    size = entry.get("height"), entry.get("width")
    if not {*map(type, size)} <= {int, type(None)}:
        invalid.add(f"{file.path}: images[{index}] has height and width {size!r}", "give whole numbers")
        return None
    return sample(folder / name, things[entry["id"]], labels, invalid, size if None not in size else None)


def _named(name: str, counts: tuple[int, int] | None, summary: str) -> DataSet:
    return DataSet(summary, lambda source: _load(source.root / name, counts, source), "detection", origin(name))


def _own(path: Path, source: Source) -> BoxedImages:
    return _load(path, None, source)


ENTRIES = {
    "coco": _named("coco", (118_287, 5_000), "118,287 + 5,000 photographs with boxes of 80 classes, from files"),
    "coco_sample": _named("coco_sample", None, "any part of COCO in its own layout, from files"),
    "folder_coco": own("folder_coco", "images and boxes", "in COCO's layout", _own, "detection"),
}
