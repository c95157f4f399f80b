"""COCO (Lin et al. 2014), instances: ``{train,val}2017/*.jpg`` and ``annotations/instances_{train,val}2017.json``.

Crowds are neither learnt nor counted as objects; what is detected on them is no error, by COCO's own rule.
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
        return cls(path, *found)

    def classes(self) -> dict[int, str]:
        """Names by category number, in the order of the numbers."""
        try:
            found = {int(entry["id"]): str(entry["name"]) for entry in self.categories}
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(f"{self.path}: categories have an id and a name each; one has not ({error!r}).") from error
        return dict(sorted(found.items()))

    def things(self, invalid: InvalidSamples) -> dict[int, list[BoxAnnotation]]:
        """The objects by the number of their image; an image without any has an empty list."""
        classes, found = self.classes(), dict[int, list[BoxAnnotation]]()
        for index, entry in enumerate(self.images):
            if not isinstance(entry, dict) or type(entry.get("id")) is not int:
                raise LabError(f"{self.path}: images[{index}] has no id, a whole number; give it one.")
            found[entry["id"]] = []
        for index, entry in enumerate(self.annotations):
            where = f"{self.path}: annotations[{index}]"
            try:
                left, top, width, height = map(float, entry["bbox"])
                image, category, crowd = int(entry["image_id"]), int(entry["category_id"]), bool(entry.get("iscrowd"))
            except (KeyError, TypeError, ValueError) as error:
                invalid.add(f"{where} is no annotation ({error!r})", "give bbox, image_id and category_id")
                continue
            if image not in found:
                invalid.add(f"{where} is of image {image}, which is not among the images", "add it")
                continue
            # a category that nobody named is told by its number
            name = classes.get(category, f"category {category}")
            found[image].append(BoxAnnotation(where, name, (left, top, left + width, top + height), crowd))
        return found


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
        invalid.add(f"{file.path}: images[{index}] has no file_name", "give the name of its file")
        return None
    size = entry.get("height"), entry.get("width")
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
