"""Object detection: the losses of torchvision's detectors, mean average precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bevel_lab.data.images.boxes import BoxedImages, ImageWithBoxes
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.models._detector import Detector
from bevel_lab.runtime.rng import derive
from bevel_lab.tasks import Shard, Task, evenly_spaced, sharded, whole_batch
from bevel_lab.tasks._detection_data import DetectionDataset, DetectionSample
from bevel_lab.tasks._metrics import detection_library, mean_average_precision
from bevel_lab.tasks._pictures import draw_boxes

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]
"""Images, float32 3×H×W in [0, 1], and targets as of :class:`Detector`, on the device."""


class Detection(Task):
    """Boxes around objects, and their classes; models are :class:`Detector` entries.

    Mean average precision is measured in evaluation mode, in which detectors have no loss.
    """

    name = "detection"
    data_types = (BoxedImages,)
    model_type = Detector
    metric = "map_50"
    metric_is_fraction = True
    input_shape, input_form = (1, 3, 64, 64), "N×C×H×W"
    EVALUATED_AT_ONCE = 16
    MIN_SCORE = 0.3
    """Pictures show detections of at least this score."""
    PICTURES = 3
    data: BoxedImages
    model: Detector

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        detection_library()  # a missing library is found before the training
        training, validation = (part.tolist() for part in self.split(len(data.train)))
        self.samples, self.validated = len(training), len(validation)
        self.training = self._dataset(
            [data.train[i] for i in training], self.model.augmentation if trial.augment else ""
        )
        self.validation = self._dataset([data.train[i] for i in validation])

    def _dataset(self, samples: Sequence[ImageWithBoxes], augmentation: str = "") -> DetectionDataset:
        return DetectionDataset(samples, self.model.side, augmentation)

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, len(self.data.classes))

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        images = list(torch.zeros(1).expand(shape))
        return model.build(activation, cls.CLASSES_WITHOUT_DATA), (images,)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        base = derive(seed, "augmentation", epoch)
        keys = ([(i, derive(base, "sample", i)) for i in samples.tolist()] for samples in sharded(order, shard))
        for found in self.training.batches(keys):
            yield self._images(found), [sample.targets(self.device) for sample in found]

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        losses: dict[str, Tensor] = model(*batch)
        return torch.stack(list(losses.values())).sum(), {name: value.detach() for name, value in losses.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return mean_average_precision(self.detected(model, self.validation))

    def test(self, model: nn.Module) -> dict[str, float]:
        return mean_average_precision(self.detected(model, self._dataset(self.data.test)))

    def pictures(self, model: nn.Module) -> list[Picture]:
        chosen = [self.data.test[i] for i in evenly_spaced(len(self.data.test), self.PICTURES)]
        pairs = self.detected(model, self._dataset(chosen))
        return [self._picture(sample, *pair) for sample, pair in zip(chosen, pairs, strict=True)]

    def _picture(self, sample: ImageWithBoxes, found: dict[str, Tensor], truth: DetectionSample) -> Picture:
        guess = {name: value.cpu()[(found["scores"] >= self.MIN_SCORE).cpu()] for name, value in found.items()}
        size, classes = sample.size, self.data.classes
        return Picture(
            title=sample.path.name,
            given="",
            truth=draw_boxes(truth.image, truth.boxes, truth.labels, size, classes),
            guess=draw_boxes(truth.image, guess["boxes"], guess["labels"], size, classes),
        )

    def _images(self, samples: Sequence[DetectionSample]) -> list[Tensor]:
        return [sample.image.to(self.device).float() / 255 for sample in samples]

    def detected(
        self, model: nn.Module, dataset: DetectionDataset
    ) -> Iterator[tuple[dict[str, Tensor], DetectionSample]]:
        """Pairs of the model's detections (``boxes``, ``labels``, ``scores``) and the truth, image by image."""
        numbers = range(len(dataset.samples))
        keys = ([(i, 0) for i in numbers[k : k + self.EVALUATED_AT_ONCE]] for k in numbers[:: self.EVALUATED_AT_ONCE])
        for samples in dataset.batches(keys):
            yield from zip(model(self._images(samples)), samples, strict=True)


ENTRIES = {Detection.name: Detection}
