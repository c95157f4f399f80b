"""Image classification: cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images import LabeledImageFiles, LabeledImages
from bevel_lab.data.images.feed import Rows, feed
from bevel_lab.data.images.mixing import Mixer
from bevel_lab.data.images.normalize import Normalize
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.runtime.rng import derive, generator
from bevel_lab.tasks import Shard, Task, whole_batch
from bevel_lab.tasks._measures import Measured, Units, measure
from bevel_lab.tasks._metrics import evaluate_classifier

Batch = tuple[Tensor, Tensor]
"""Images, float32 B×C×H×W, and targets: int64 B, or float32 B×classes where images are mixed."""


class Classification(Task):
    """Images into classes.

    A model's ``build(activation, in_channels, image_size, classes)`` returns a network from B×in_channels×H×W images to
    B×classes logits.
    """

    name = "classification"
    data_types = (LabeledImages, LabeledImageFiles)
    unsupported = ()
    metric = "accuracy"
    metric_is_fraction = True
    input_shape, input_form = (1, 3, 32, 32), "N×C×H×W"
    data: LabeledImages | LabeledImageFiles

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        self.check_size(data.size)
        if trial.randaugment and data.channels not in (1, 3):
            raise InvalidValue(f"randaugment takes grey or RGB images; {trial.dataset!r} has {data.channels} channels.")
        training, validation = self.split(len(data.train), data.train.labels)
        self.samples, self.validated = len(training), len(validation)
        self.feed = feed(data, training, validation, trial.augment, device)
        self.mixer = Mixer(trial.mixup, trial.cutmix, data.classes)
        self.normalize = Normalize(data.mean, data.std, trial.channels_last, device)

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, self.data.channels, self.data.size, self.data.classes)

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        network = model.build(activation, shape[1], shape[2:], cls.CLASSES_WITHOUT_DATA)
        return network, (torch.zeros(1).expand(shape),)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        chosen = [(samples, self._rows(len(samples), shard)) for samples in order]
        operations = generator(seed, "randaugment", epoch)
        mixing = derive(seed, "mixing", epoch)
        for step, (images, labels) in enumerate(self.feed.training(chosen, seed, epoch)):
            if self.trial.randaugment:
                images = self._rand_augment(images, len(order[step]), chosen[step][1], operations)
            images = self.normalize(images)
            yield self.mixer(images, labels, derive(mixing, "batch", step)) if self.mixer else (images, labels)

    def _rand_augment(self, images: Tensor, count: int, rows: Rows, generator: torch.Generator) -> Tensor:
        from bevel_lab.data.images.randaugment import draw, rand_augment  # imports torchvision, which takes seconds

        return rand_augment(images, draw(self.trial.randaugment, count, generator)[..., rows])

    def _rows(self, count: int, shard: Shard) -> Rows:
        """The rows of a batch that ``shard`` needs: its own, and the one before them to mix the first with."""
        first, end = shard(count)
        return torch.arange(first - 1, end) % count if self.mixer else slice(first, end)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, targets = batch
        logits = model(images)
        guess = logits.detach().argmax(1)
        # a mixed image counts by the weight of the class that was guessed
        right = (guess == targets).float() if targets.ndim == 1 else targets.gather(1, guess[:, None])
        loss = F.cross_entropy(logits, targets, label_smoothing=self.trial.label_smoothing)
        return loss, {"accuracy": right.mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.feed.validation())

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.feed.test())

    def measure(self, model: nn.Module, units: Units) -> Measured:
        return measure(model, units, self.normalize, self.feed.test, self.feed.validation())

    def _evaluate(self, model: nn.Module, batches: Iterator[Batch]) -> dict[str, float]:
        normalized = ((self.normalize(images), labels) for images, labels in batches)
        return evaluate_classifier(model, normalized, lambda logits, labels: {"accuracy": logits.argmax(1) == labels})


ENTRIES = {Classification.name: Classification}
