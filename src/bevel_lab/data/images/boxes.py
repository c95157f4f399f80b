"""Images with boxes around the objects on them: files, read as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data.images.in_memory import facts
from bevel_lab.data.invalid import skipped_fact


@dataclass(frozen=True, eq=False)
class ImageWithBoxes:
    """An image file and its objects.

    Attributes:
        path: the file.
        size: (height, width) in pixels.
        boxes: float32, N×4: left, top, right and bottom edge in pixels, inside the image and not empty.
        labels: int64, N: 1 … number of classes; 0 is the background.
        ignored: bool, N: neither learnt nor counted (VOC's difficult objects, COCO's crowds).
    """

    path: Path
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    def __post_init__(self) -> None:
        count = len(self.labels)
        given = [(t.dtype, tuple(t.shape)) for t in (self.boxes, self.labels, self.ignored)]
        if given != [(torch.float32, (count, 4)), (torch.int64, (count,)), (torch.bool, (count,))]:
            raise InvalidValue(f"boxes are float32 N×4, labels int64 N, ignored bool N; got {given}.")
        edge = torch.tensor(self.size[::-1])
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        if not ((low >= 0) & (low < high) & (high <= edge)).all():
            raise InvalidValue(f"boxes lie inside their image; some of {self.path} do not.")


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """A detection data set.

    Attributes:
        train, test: the two parts, not empty; the validation part is split off ``train`` by the task.
        classes: names of the labels 1, 2, …
        note: what a reader of the results must know of the data beside its name, or empty.
        skipped: what was skipped as invalid, one sentence each.
        facts: numbers of images and boxes, a digest of names, sizes, boxes and labels, the note, what was left out.
    """

    train: Sequence[ImageWithBoxes]
    test: Sequence[ImageWithBoxes]
    classes: tuple[str, ...]
    note: str = ""
    skipped: tuple[str, ...] = ()
    facts: dict[str, int | str] = field(init=False)

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            if not sum(int((~sample.ignored).sum()) for sample in part):
                raise InvalidValue(f"the {name} part of a detection data set needs at least one box; this has none.")
            if max(int(s.labels.max()) for s in part if len(s.labels)) > len(self.classes):
                raise InvalidValue(f"labels are 1 … {len(self.classes)}; the {name} part has others.")
        found = facts(len(self.train), len(self.test), _digest(self.train, self.test), self.note)
        found["boxes"] = sum(len(sample.labels) for sample in (*self.train, *self.test))
        object.__setattr__(self, "facts", found | skipped_fact(self.skipped))


def _digest(*parts: Sequence[ImageWithBoxes]) -> str:
    """Sixteen hex digits of the SHA-256."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}\n".encode())
        for sample in part:
            total.update(f"{sample.path.name}\0{sample.size}\0{sample.path.stat().st_size}\n".encode())
            for tensor in (sample.boxes, sample.labels, sample.ignored):
                total.update(tensor.numpy().tobytes())
    return total.hexdigest()[:16]
