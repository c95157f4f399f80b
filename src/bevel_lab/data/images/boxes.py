"""Images with boxes around objects: files that are read when a batch needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bevel.errors import InvalidValue
from bevel_lab.data.facts import digest, facts
from bevel_lab.data.overlap import Shared, same_files


@dataclass(frozen=True, eq=False)
class ImageWithBoxes:
    """An image file and the objects on it.

    Attributes:
        path: the file.
        size: (height, width) in pixels.
        boxes: float32, N×4: left, top, right and bottom edges in pixels, inside the image, with an area.
        labels: int64, N: 1 … number of classes; 0 is the background.
        ignored: bool, N: neither learned nor counted (VOC's difficult objects, COCO's crowds).
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
            raise InvalidValue(f"boxes must be float32 N×4, labels int64 N, ignored bool N; got {given}.")
        edge = torch.tensor(self.size[::-1])
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        if not ((low >= 0) & (low < high) & (high <= edge)).all():
            raise InvalidValue(f"boxes must lie inside their image; some of {self.path} do not.")


@dataclass(eq=False)
class BoxedImages:
    """A detection data set.

    Attributes:
        train, test: the two parts, not empty; the task splits the validation part off ``train``.
        classes: names of the labels 1, 2, …
        note: what a reader of the results must know of the data beside its name, or empty.
        skipped: one sentence for every object or image that was skipped as invalid.
        facts: counts of images and boxes, a digest of names, sizes, boxes and labels, the note, what was skipped.

    Raises:
        InvalidValue: if a part has no box, or a label without a class.
    """

    train: Sequence[ImageWithBoxes]
    test: Sequence[ImageWithBoxes]
    classes: tuple[str, ...]
    note: str = ""
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            if not sum(int((~sample.ignored).sum()) for sample in part):
                raise InvalidValue(f"the {name} part of a detection data set needs at least one box; this has none.")
            if max(int(s.labels.max()) for s in part if len(s.labels)) > len(self.classes):
                raise InvalidValue(f"labels must be 1 … {len(self.classes)}; the {name} part has others.")
        content = digest(chunk for part in (self.train, self.test) for chunk in _content(part))
        boxes = sum(len(sample.labels) for sample in (*self.train, *self.test))
        counts = {"train": len(self.train), "test": len(self.test)}
        self.facts = facts(counts, content, boxes=boxes, note=self.note, skipped=self.skipped)

    def shared(self) -> Shared:
        """Test images whose files are those of training images; see :mod:`bevel_lab.data.overlap`."""
        return same_files([sample.path for sample in self.train], [sample.path for sample in self.test])


def _content(part: Sequence[ImageWithBoxes]) -> Iterator[bytes]:
    yield f"{len(part)}\n".encode()
    for sample in part:
        yield f"{sample.path.name}\0{sample.size}\0{sample.path.stat().st_size}\n".encode(errors="surrogateescape")
        for tensor in (sample.boxes, sample.labels, sample.ignored):
            yield tensor.numpy().tobytes()
