"""Images with boxes for a detector: read from files, and augmented together with their boxes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevel_lab.data import loader
from bevel_lab.data.images.boxes import ImageWithBoxes
from bevel_lab.data.images.image_file import read_image
from bevel_lab.errors import LabError
from bevel_lab.runtime.rng import seeded

CACHE_BYTES = 2**28
"""A data set with at most so many bytes of pixels is kept decoded; worker processes read a larger one every epoch."""


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """A decoded sample: uint8 3×H×W, and boxes, labels and ignored as of :class:`ImageWithBoxes`, in its pixels."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    def targets(self, device: torch.device) -> dict[str, Tensor]:
        """``boxes`` and ``labels`` that are to be learned."""
        return {"boxes": self.boxes[~self.ignored].to(device), "labels": self.labels[~self.ignored].to(device)}


class DetectionDataset:
    """The decoded samples of one part; keys are (number of the sample, seed of its augmentation).

    Args:
        samples: the part.
        side: height and width that every image is resized to; 0: it keeps its size. IoU, and so every metric, does not
            depend on it.
        augmentation: as of ``Detector``; ``""``: none.
    """

    def __init__(self, samples: Sequence[ImageWithBoxes], side: int, augmentation: str) -> None:
        self.samples = samples
        # cropping needs the pixels that resizing would throw away
        self.read_side = side if augmentation in ("", "flip") else 0
        self.augment = augmenter(augmentation, side) if augmentation else None
        pixels = (self.read_side**2 or s.size[0] * s.size[1] for s in samples)
        self.in_memory = 3 * sum(pixels) <= CACHE_BYTES
        self.image = functools.cache(self._read) if self.in_memory else self._read

    def batches(self, keys: Iterable[list[tuple[int, int]]]) -> Iterator[list[DetectionSample]]:
        """The samples of every list of keys, as :func:`bevel_lab.data.loader.batches` reads them."""
        return loader.batches(self.__getitem__, keys, list, in_memory=self.in_memory)

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        number, seed = key
        sample, image = self.samples[number], self.image(number)
        high, wide = image.shape[-2] / sample.size[0], image.shape[-1] / sample.size[1]
        boxes = sample.boxes * torch.tensor([wide, high, wide, high])
        found = DetectionSample(image, boxes, sample.labels, sample.ignored)
        return found if self.augment is None else self.augment(found, seed)

    def _read(self, number: int) -> Tensor:
        from PIL.Image import Resampling
        from torchvision.transforms.v2.functional import pil_to_tensor

        sample = self.samples[number]
        found = read_image(sample.path)
        if (found.height, found.width) != sample.size:
            raise LabError(f"{sample.path} has another size than when its data set was read; put it back.")
        if self.read_side:
            found = found.resize((self.read_side, self.read_side), Resampling.BILINEAR)
        image: Tensor = pil_to_tensor(found)
        return image


def augmenter(kind: str, side: int) -> Callable[[DetectionSample, int], DetectionSample]:
    """(sample, seed) → sample, by torchvision's transforms, whose draws depend on the seed only.

    Args:
        kind: as of ``Detector``.
        side: height and width that a cropped image is resized to; 0: it keeps its size.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    crop = [v2.RandomIoUCrop()]
    colors = [v2.RandomPhotometricDistort(), v2.RandomZoomOut(fill=[123.0, 117.0, 104.0])]
    before = {"flip": [], "crop": crop, "ssd": [*colors, *crop]}[kind]
    after = [v2.Resize((side, side), antialias=True)] if before and side else []
    clean = v2.SanitizeBoundingBoxes(labels_getter=lambda sample: (sample["labels"], sample["ignored"]))
    whole = v2.Compose([*before, v2.RandomHorizontalFlip(), *after, clean])
    without_boxes = v2.Compose([v2.RandomHorizontalFlip(), *after])  # cropping around no object never ends

    def augment(sample: DetectionSample, seed: int) -> DetectionSample:
        boxes = tv_tensors.BoundingBoxes(sample.boxes, format="XYXY", canvas_size=sample.image.shape[-2:])
        given = vars(sample) | {"image": tv_tensors.Image(sample.image), "boxes": boxes}
        with seeded(seed):
            made = (whole if len(boxes) else without_boxes)(given)
        return DetectionSample(**{name: value.as_subclass(Tensor) for name, value in made.items()})

    return augment
