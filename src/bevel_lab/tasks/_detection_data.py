"""What feeds a detector: images read from files, augmented with their boxes, each by draws of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bevel_lab.data import loader
from bevel_lab.data.images.boxes import ImageWithBoxes
from bevel_lab.data.images.from_files import read_image
from bevel_lab.errors import LabError
from bevel_lab.runtime.rng import seeded

CACHE_BYTES = 2**28
"""Bytes of pixels that are kept once they are decoded; a larger data set is read by worker processes every time."""


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """A decoded sample: uint8 3×H×W, and boxes, labels and ignored as of :class:`ImageWithBoxes`, in its pixels."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    def targets(self, device: torch.device) -> dict[str, Tensor]:
        """What is to be learnt."""
        return {"boxes": self.boxes[~self.ignored].to(device), "labels": self.labels[~self.ignored].to(device)}


class DetectionDataset(Dataset[DetectionSample]):
    """Reads the samples of one part.

    Args:
        samples: the part.
        side: height and width that every image is brought to; 0: none. IoU, and so every metric, is the same for it.
        augmentation: as of ``Detector``; ``""``: none.
    """

    def __init__(self, samples: Sequence[ImageWithBoxes], side: int, augmentation: str) -> None:
        self.samples, self.side = samples, side
        # who crops needs the pixels that shrinking would throw away
        self.shrunk = side if augmentation in ("", "flip") else 0
        self.augment = augmenter(augmentation, side) if augmentation else None
        pixels = (self.shrunk**2 or s.size[0] * s.size[1] for s in samples)
        self.kept: dict[int, Tensor] | None = {} if 3 * sum(pixels) <= CACHE_BYTES else None

    def batches(self, keys: Iterable[list[tuple[int, int]]]) -> Iterator[list[DetectionSample]]:
        """The samples of every list of (number, seed), as :func:`bevel_lab.data.loader.batches` reads them."""
        return loader.batches(self, keys, list, in_memory=self.kept is not None)

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        number, seed = key
        sample, image = self.samples[number], self._image(number)
        high, wide = (image.shape[-2] / sample.size[0], image.shape[-1] / sample.size[1])
        item = DetectionSample(
            image, sample.boxes * torch.tensor([wide, high, wide, high]), sample.labels, sample.ignored
        )
        return item if self.augment is None else self.augment(item, seed)

    def _image(self, number: int) -> Tensor:
        from PIL.Image import Resampling
        from torchvision.transforms.v2.functional import pil_to_tensor

        if self.kept is not None and number in self.kept:
            return self.kept[number]
        sample = self.samples[number]
        found = read_image(sample.path)
        if (found.height, found.width) != sample.size:
            raise LabError(f"{sample.path} has another size than when its data set was read; put it back.")
        if self.shrunk:
            found = found.resize((self.shrunk, self.shrunk), Resampling.BILINEAR)
        image: Tensor = pil_to_tensor(found)
        if self.kept is not None:
            self.kept[number] = image
        return image


def augmenter(kind: str, side: int) -> Callable[[DetectionSample, int], DetectionSample]:
    """(sample, seed) → sample, by torchvision's transforms; the seed is all that the draws depend on.

    Args:
        kind: as of ``Detector``.
        side: height and width that what was cropped is brought to; 0: it stays.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    crop = [v2.RandomIoUCrop()]
    colors = [v2.RandomPhotometricDistort(), v2.RandomZoomOut(fill=[123.0, 117.0, 104.0])]
    before = {"flip": [], "crop": crop, "ssd": [*colors, *crop]}[kind]
    after = [v2.Resize((side, side), antialias=True)] if before and side else []
    clean = v2.SanitizeBoundingBoxes(labels_getter=lambda sample: (sample["labels"], sample["ignored"]))
    whole = v2.Compose([*before, v2.RandomHorizontalFlip(), *after, clean])
    empty = v2.Compose([v2.RandomHorizontalFlip(), *after])  # cropping around no object never ends

    def augment(item: DetectionSample, seed: int) -> DetectionSample:
        boxes = tv_tensors.BoundingBoxes(item.boxes, format="XYXY", canvas_size=item.image.shape[-2:])
        given = {"image": tv_tensors.Image(item.image), "boxes": boxes, "labels": item.labels, "ignored": item.ignored}
        with seeded(seed):
            made = (whole if len(boxes) else empty)(given)
        plain = made["image"].as_subclass(Tensor), made["boxes"].as_subclass(Tensor)
        return DetectionSample(*plain, made["labels"], made["ignored"])

    return augment
