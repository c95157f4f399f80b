"""Semantic segmentation: a class for every pixel; cross-entropy, mean IoU, pixel accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.data.images.masks import VOID, Crop, Key, MaskedImages, SegmentationDataset
from bevel_lab.data.images.normalize import Normalize
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.runtime.rng import generator
from bevel_lab.tasks import Shard, Task, evenly_spaced, sharded, whole_batch
from bevel_lab.tasks._metrics import SegmentationMetrics
from bevel_lab.tasks._pictures import draw_image, draw_mask

Batch = tuple[Tensor, Tensor]
"""Images, float32 B×3×H×W, and masks, int64 B×H×W with ``VOID`` where nothing is learned."""


class Segmentation(Task):
    """Images into masks.

    A model's ``build(activation, in_channels, image_size, classes)`` returns a network from B×in_channels×H×W images of
    any size not below its ``min_size`` to B×classes×H×W logits; ``image_size`` is the size in training. Training images
    are cropped at random and mirrored, unless the trial does not augment; evaluation sees whole images.

    The loss is cross-entropy, averaged over the pixels of an image that are not void and then over images, so that it
    does not depend on how a batch is sharded among processes.
    """

    name = "segmentation"
    data_types = (MaskedImages,)
    unsupported = ("mixup", "cutmix", "randaugment")
    metric = "miou"
    metric_is_fraction = True
    input_shape, input_form = (1, 3, 64, 64), "N×C×H×W"
    PIXELS_AT_ONCE = 2**19
    """Pixels evaluated at once, at least one image; the result's last bits depend on it, so it is fixed."""
    PICTURES = 3
    data: MaskedImages

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        self.size = data.crop if trial.augment else data.size
        self.check_size(self.size)
        SegmentationMetrics(len(data.classes))  # a missing library is found before the training
        training, validation = self.split(len(data.train), fraction=None if data.validation is None else 0.0)
        self.index, self.train = training.tolist(), data.train.to(device)
        if data.validation is None:
            self.validation = self.train, validation.tolist()
        else:
            self.validation = data.validation.to(device), list(range(len(data.validation)))
        self.samples, self.validated = len(self.index), len(self.validation[1])
        self.normalize = Normalize(data.mean, data.std, trial.channels_last, device)

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, 3, self.size, len(self.data.classes))

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        network = model.build(activation, shape[1], shape[2:], cls.CLASSES_WITHOUT_DATA)
        return network, (torch.zeros(1).expand(shape),)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        crops = self._crops(seed, epoch)
        shards = (samples.tolist() for samples in sharded(order, shard))
        keys = ([(self.index[i], crops[i] if crops else None) for i in samples] for samples in shards)
        yield from map(self._ready, self.train.batches(keys))

    def _crops(self, seed: int, epoch: int) -> list[Crop]:
        """The crop of every training sample in an epoch; empty if the trial does not augment."""
        if not self.trial.augment:
            return []
        (high, wide), (height, width) = self.data.size, self.data.crop
        draws = torch.rand(self.samples, 3, generator=generator(seed, "augmentation", epoch), dtype=torch.float64)
        return [
            Crop(int(down * (high - height + 1)), int(right * (wide - width + 1)), height, width, side < 0.5)
            for down, right, side in draws.tolist()
        ]

    def _ready(self, scenes: Tensor) -> Batch:
        """Uint8 B×4×H×W → normalized images, and masks."""
        scenes = scenes.to(self.device, non_blocking=True)
        return self.normalize(scenes[:, :3]), scenes[:, 3].long()

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, masks = batch
        logits = model(images)
        seen = masks != VOID
        weights = seen / seen.sum((1, 2), keepdim=True).clamp(min=1) / len(masks)
        loss = (self._losses(logits, masks) * weights).sum()
        return loss, {"accuracy": ((logits.detach().argmax(1) == masks) * weights).sum()}

    def _losses(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Cross-entropy by pixel, B×H×W; zero where the mask is void."""
        smoothing = self.trial.label_smoothing
        # the reduction over a map has no deterministic form on a GPU
        return F.cross_entropy(logits.float(), masks, ignore_index=VOID, reduction="none", label_smoothing=smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, *self.validation)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.data.test.to(self.device), list(range(len(self.data.test))))

    def _evaluate(self, model: nn.Module, scenes: SegmentationDataset, numbers: list[int]) -> dict[str, float]:
        metrics, total = SegmentationMetrics(len(self.data.classes)), torch.zeros((), dtype=torch.float64)
        at_once = max(1, self.PIXELS_AT_ONCE // (self.data.size[0] * self.data.size[1]))
        keys: Iterator[list[Key]] = (
            [(i, None) for i in numbers[k : k + at_once]] for k in range(0, len(numbers), at_once)
        )
        for images, masks in map(self._ready, scenes.batches(keys)):
            logits = model(images)
            pixels = (masks != VOID).sum((1, 2)).clamp(min=1)
            total += (self._losses(logits, masks).sum((1, 2)) / pixels).sum().double().cpu()
            metrics.add(logits.argmax(1), masks)
        return {"loss": float(total) / len(numbers), **metrics.result()}

    def pictures(self, model: nn.Module) -> list[Picture]:
        test = self.data.test
        chosen = evenly_spaced(len(test), self.PICTURES)
        found = []
        for number, scene in zip(chosen, test.batches([(number, None)] for number in chosen), strict=True):
            guess = model(self._ready(scene)[0]).argmax(1)[0].to(torch.uint8)
            image, names, colors = scene[0, :3], self.data.classes, self.data.colors
            truth, made = (draw_mask(image, mask, names, colors) for mask in (scene[0, 3], guess))
            found.append(Picture(title=test.names[number], given=draw_image(image), truth=truth, guess=made))
        return found


ENTRIES = {Segmentation.name: Segmentation}
