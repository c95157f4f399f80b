"""What data sets with boxes share: objects as an annotation gives them, checked and made into samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bevel_lab.data.images.boxes import ImageWithBoxes
from bevel_lab.data.images.image_file import image_size
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.datasets._listing import check_forms
from bevel_lab.errors import LabError

SLACK = 0.5
"""By how many pixels a box may leave its image and is clipped: the originals are rounded."""


@dataclass(frozen=True)
class BoxAnnotation:
    """An object of an annotation: where it is written (file and line, or entry), class name, edges, whether ignored."""

    where: str
    name: str
    box: tuple[float, float, float, float]
    ignored: bool


def sample(
    path: Path,
    things: Sequence[BoxAnnotation],
    labels: Mapping[str, int],
    invalid: InvalidSamples,
    size: tuple[int, int] | None = None,
) -> ImageWithBoxes | None:
    """The image ``path`` with its boxes; None if the image itself is invalid and skipped.

    Args:
        path: the image file. Its header is read; all of it if invalid samples are skipped.
        things: its objects.
        labels: class names and their labels.
        invalid: collects the image, or those of its objects, that are invalid.
        size: (height, width) that the annotation claims.
    """
    try:
        found = image_size(path, whole=invalid.skip)
    except LabError as error:
        if not path.exists() and path.parent.is_dir():
            check_forms(path.parent, [path.name, *(other.name for other in path.parent.iterdir())])
        invalid.add_error(error)
        return None
    if size is not None and size != found:
        invalid.add(
            f"{path} has {_by(found)} pixels where its annotation says {_by(size)} (height×width)",
            "correct one of them",
        )
        return None
    valid = [thing for thing in things if _is_valid(thing, found, labels, invalid)]
    high, wide = found
    boxes = torch.tensor([thing.box for thing in valid], dtype=torch.float32).reshape(-1, 4)
    return ImageWithBoxes(
        path,
        found,
        torch.minimum(boxes.clamp(min=0), torch.tensor([wide, high, wide, high])),
        torch.tensor([labels[thing.name] for thing in valid], dtype=torch.int64),
        torch.tensor([thing.ignored for thing in valid], dtype=torch.bool),
    )


def _is_valid(thing: BoxAnnotation, size: tuple[int, int], labels: Mapping[str, int], invalid: InvalidSamples) -> bool:
    left, top, right, bottom = thing.box
    box = f"{thing.where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} of a {thing.name!r}"
    if thing.name not in labels:
        check_forms(thing.where, [thing.name, *labels])
        invalid.add(f"{thing.where}: there is no class {thing.name!r}", f"the classes are {_listed(list(labels))}")
    elif not all(map(math.isfinite, thing.box)):
        invalid.add(f"{box} is no box", "give finite numbers")
    elif right <= left or bottom <= top:
        invalid.add(f"{box} has no area", "its right and bottom edges lie beyond its left and top ones")
    elif left < -SLACK or top < -SLACK or right > size[1] + SLACK or bottom > size[0] + SLACK:
        invalid.add(f"{box} leaves its image of {_by(size)} pixels (height×width)", "correct it")
    else:
        # what clipping leaves of a sliver at the edge may be nothing
        if min(right, size[1]) > max(left, 0) and min(bottom, size[0]) > max(top, 0):
            return True
        invalid.add(f"{box} lies on the edge of its image of {_by(size)} pixels (height×width)", "correct it")
    return False


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:25]) + (" …" if len(names) > 25 else "")
