"""Something-Something v2 (Goyal et al. 2017) as published: 174 actions, which only the order of frames tells apart.

Below the data root: the clips ``20bn-something-something-v2/ID.webm``, and ``something-something-v2-labels.json``,
``-train.json`` and ``-validation.json``. The labels of its test part are not public, so the validation part is the test
part here, as in the papers; the lab's own validation part is split off the training part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.source import Source
from bevel_lab.data.video import Clips
from bevel_lab.data.video.from_files import ClipFiles
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_counts, read_json
from bevel_lab.datasets._listing import check_classes
from bevel_lab.datasets._origins import origin
from bevel_lab.errors import LabError

CLIPS = "20bn-something-something-v2"
PARTS = ("classes", "training clips", "validation clips")


@dataclass(frozen=True)
class SomethingSomething:
    """The whole data set, or any part of it.

    Attributes:
        counts: numbers of classes, training clips and validation clips that the lists must have; None: any, and the
            record says so.
    """

    counts: tuple[int, int, int] | None

    def load(self, source: Source) -> Clips:
        """List the clips; raises ``LabError`` naming the list, and the entry in it, that is missing or invalid."""
        root = source.root
        classes = _classes(_path(root, "labels"))
        check_classes(_path(root, "labels"), list(classes))
        invalid = InvalidSamples(source.skip_invalid, root)
        lists = [_path(root, name) for name in ("train", "validation")]
        entries = [_read(path, list) for path in lists]
        counts = dict(zip(PARTS, (len(classes), *map(len, entries)), strict=True))
        if self.counts:
            check_counts(_path(root, "*"), counts, self.counts, "ask for something_something_v2_subset")
        train, test = (_listed(path, found, classes, invalid) for path, found in zip(lists, entries, strict=True))
        note = "" if self.counts else "not verified to be the original: whatever clips its lists name"
        return ClipFiles(root / CLIPS, {"train": train, "test": test}, list(classes), invalid, note)


def _path(root: Path, name: str) -> Path:
    return root / f"something-something-v2-{name}.json"


def _read(path: Path, kind: type) -> Any:
    if not path.is_file():
        raise LabError(
            f"{path} does not exist; pass --data-root with the folder that holds it and {CLIPS}; the data set is free "
            "of charge, but not without an account."
        )
    found = read_json(path, "unpack it again")
    if not isinstance(found, kind) or not found:
        raise LabError(f"{path} holds no JSON {kind.__name__} with something in it; unpack it again.")
    return found


def _classes(path: Path) -> dict[str, int]:
    """The number of every class by its template, in the order of the numbers."""
    found = _read(path, dict)
    wanted = {str(number) for number in range(len(found))}
    if set(map(str, found.values())) != wanted:
        raise LabError(f"{path} numbers its {len(found)} labels otherwise than 0 … {len(found) - 1}; unpack it again.")
    return {name: int(number) for name, number in sorted(found.items(), key=lambda item: int(item[1]))}


def _listed(path: Path, entries: list[Any], classes: dict[str, int], invalid: InvalidSamples) -> list[tuple[str, int]]:
    """(file name, class) of every valid entry of a list."""
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict) or not re.fullmatch(r"\w+", str(entry.get("id", ""))):
            invalid.add(f"{where}: has no id of letters and digits", "correct it")
            continue
        template = str(entry.get("template", "")).replace("[", "").replace("]", "")
        clip = f"{entry['id']}.webm"
        if template not in classes:
            labels = _path(path.parent, "labels")
            invalid.add(f"{where} (clip {clip}): unknown label {template!r}", f"it must be in {labels}; correct it")
        elif not (path.parent / CLIPS / clip).is_file():
            invalid.add(f"{where}: {path.parent / CLIPS / clip} does not exist", "unpack the clips again")
        else:
            found.append((clip, classes[template]))
    return found


ENTRIES = {
    "something_something_v2": DataSet(
        "168,913 + 24,777 clips of things done, 174 classes, 8 frames at 224×224, from files; the whole set",
        SomethingSomething((174, 168_913, 24_777)).load,
        "video",
        origin("something_something_v2"),
    ),
    "something_something_v2_subset": DataSet(
        "whatever clips its lists name, in the layout of the original",
        SomethingSomething(None).load,
        "video",
        origin("something_something_v2"),
    ),
}
