"""Object detection: the losses of torchvision's detectors, mean average precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images.boxes import BoxedImages, ImageWithBoxes
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation
from bevel_lab.models._detector import Detector
from bevel_lab.runtime.rng import SHARED, derive, generator
from bevel_lab.tasks import Shard, Task, whole_batch
from bevel_lab.tasks._detection_data import DetectionDataset, DetectionSample
from bevel_lab.tasks._detection_metrics import library, mean_average_precision
from bevel_lab.tasks._detection_pictures import drawn

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]
"""Images, float32 3×H×W from 0 to 1, and targets as of ``Detector``, on the device."""

OFF = ("mixup", "cutmix", "randaugment", "label_smoothing")


class Detection(Task):
    """Boxes around objects, and their classes; ``data`` is a :class:`BoxedImages`, the model a ``Detector``.

    Mean precision is measured in evaluation mode, in which detectors have no loss.
    """

    metric = "map_50"
    metric_is_fraction = True
    AT_ONCE = 16
    SURE = 0.3
    """The least score of what is drawn."""
    DRAWN = 3

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        if not isinstance(data, BoxedImages):
            raise InvalidValue(f"detection takes images with boxes; data set {trial.dataset!r} is of another task.")
        model = MODELS.item(trial.model)
        if not isinstance(model, Detector):
            raise InvalidValue(f"model {trial.model!r} is for {model.task}; choose one for detection.")
        for name in OFF:
            if getattr(trial, name):
                raise InvalidValue(f"{name} is for classification; got {getattr(trial, name)!r}. Leave it at 0.")
        library()
        self.model, self.data, self.device = model, data, device
        training, held = _split(trial, len(data.train))
        self.samples, self.validated, self.tested = len(training), len(held), int(data.facts["test"])
        self.facts = data.facts
        augmentation = model.augmentation if trial.augment else ""
        self.training = DetectionDataset([data.train[i] for i in training], model.side, augmentation)
        self.held = DetectionDataset([data.train[i] for i in held], model.side, "")

    def build(self, activation: Activation) -> nn.Module:
        network: nn.Module = self.model.build(activation, len(self.data.classes))
        return network

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        if not self.model.own_init:
            super().initialize(model, sites, generator)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        base = derive(seed, "augmentation", epoch)
        keys = (
            [(i, derive(base, "sample", i)) for i in samples[first:end].tolist()]
            for samples in order
            for first, end in [shard(len(samples))]
        )
        for items in self.training.batches(keys):
            yield self._images(items), [item.targets(self.device) for item in items]

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        losses: dict[str, Tensor] = model(*batch)
        return torch.stack(list(losses.values())).sum(), {name: value.detach() for name, value in losses.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return mean_average_precision(self.detected(model, self.held))

    def test(self, model: nn.Module) -> dict[str, float]:
        return mean_average_precision(self.detected(model, DetectionDataset(self.data.test, self.model.side, "")))

    def pictures(self, model: nn.Module) -> list[Picture]:
        count = len(self.data.test)
        chosen = [self.data.test[count * k // self.DRAWN] for k in range(min(self.DRAWN, count))]
        pairs = self.detected(model, DetectionDataset(chosen, self.model.side, ""))
        return [self._picture(sample, *pair) for sample, pair in zip(chosen, pairs, strict=True)]

    def _picture(self, sample: ImageWithBoxes, found: dict[str, Tensor], item: DetectionSample) -> Picture:
        guess = {name: value.cpu()[(found["scores"] >= self.SURE).cpu()] for name, value in found.items()}
        return Picture(
            title=sample.path.name,
            given="",
            truth=drawn(item.image, item.boxes, item.labels, sample.size, self.data.classes),
            guess=drawn(item.image, guess["boxes"], guess["labels"], sample.size, self.data.classes),
        )

    def _images(self, items: Sequence[DetectionSample]) -> list[Tensor]:
        return [item.image.to(self.device).float() / 255 for item in items]

    def detected(self, model: nn.Module, feed: DetectionDataset) -> Iterator[tuple[dict[str, Tensor], DetectionSample]]:
        """What ``model`` finds on the images of ``feed`` (``boxes``, ``labels``, ``scores``), and what there is."""
        numbers = range(len(feed.samples))
        keys = ([(i, 0) for i in numbers[k : k + self.AT_ONCE]] for k in numbers[:: self.AT_ONCE])
        for items in feed.batches(keys):
            yield from zip(model(self._images(items)), items, strict=True)


def _split(trial: Trial, count: int) -> tuple[list[int], list[int]]:
    """Numbers of the training and validation samples, the same for every trial of a data set and these settings."""
    held = max(1, round(count * trial.validation))
    if count - held < 2:
        raise InvalidValue(f"training needs at least two images; of {count} {held} are held out for validation.")
    order = torch.randperm(count, generator=generator(SHARED, "split"))
    training = order[held:]
    if trial.train_limit and trial.train_limit < len(training):
        training = training[: trial.train_limit]
    return sorted(training.tolist()), sorted(order[:held].tolist())


ENTRIES = {"detection": Detection}
