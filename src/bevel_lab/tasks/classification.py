"""Image classification: cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images import LabeledImageFiles, LabeledImages, stratified
from bevel_lab.data.images.feed import Rows, feed
from bevel_lab.data.images.mixing import Mixer
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation
from bevel_lab.runtime.rng import SHARED, derive, generator
from bevel_lab.tasks import Shard, Task, whole_batch


class Classification(Task):
    """Images into classes.

    ``data`` is a :class:`LabeledImages` or a :class:`LabeledImageFiles`. A batch is float32 B×C×H×W and its targets:
    int64 B, or float32 B×classes where images are mixed.
    """

    metric = "accuracy"
    metric_is_fraction = True

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        if not isinstance(data, LabeledImages | LabeledImageFiles):
            raise InvalidValue(f"classification takes labelled images; data set {trial.dataset!r} is of another task.")
        self.model = MODELS.item(trial.model)
        if self.model.task != "classification":
            raise InvalidValue(f"model {trial.model!r} is for {self.model.task}; choose one for classification.")
        if min(data.size) < self.model.smallest:
            raise InvalidValue(
                f"model {trial.model!r} takes images of at least {self.model.smallest} pixels a side; "
                f"{trial.dataset!r} has {data.size[0]}×{data.size[1]}."
            )
        if trial.randaugment and data.channels not in (1, 3):
            raise InvalidValue(
                f"randaugment is for grey or RGB images; {trial.dataset!r} has {data.channels} channels."
            )
        self.data, self.device, self.trial = data, device, trial
        training, validation = _split(trial, data.train.labels)
        self.samples, self.validated, self.tested = len(training), len(validation), int(data.facts["test"])
        self.facts = data.facts
        self.feed = feed(data, training, validation, trial.augment, device)
        self.mixer = Mixer(trial.mixup, trial.cutmix, data.classes)
        self.ready = _ready(data, trial.channels_last, device)

    def build(self, activation: Activation) -> nn.Module:
        model: nn.Module = self.model.build(activation, self.data.channels, self.data.size, self.data.classes)
        return model

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        if not self.model.own_init:
            super().initialize(model, sites, generator)

    def batches(
        self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch
    ) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = [(samples, self._rows(len(samples), shard)) for samples in order]
        operations = generator(seed, "randaugment", epoch)
        mixing = derive(seed, "mixing", epoch)
        for step, (images, labels) in enumerate(self.feed.training(chosen, seed, epoch)):
            if self.trial.randaugment:
                images = self._operated(images, len(order[step]), chosen[step][1], operations)
            images = self.ready(images)
            yield self.mixer(images, labels, derive(mixing, "batch", step)) if self.mixer else (images, labels)

    def _operated(self, images: Tensor, count: int, rows: Rows, generator: torch.Generator) -> Tensor:
        from bevel_lab.data.images.randaugment import draw, rand_augment  # imports torchvision, which takes seconds

        return rand_augment(images, draw(self.trial.randaugment, count, generator)[..., rows])

    def _rows(self, count: int, shard: Shard) -> Rows:
        """The rows of a batch that ``shard`` needs: its own, and the one before them to mix the first with."""
        first, end = shard(count)
        return torch.arange(first - 1, end) % count if self.mixer else slice(first, end)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        images, targets = batch
        logits = model(images)
        guess = logits.detach().argmax(1)
        # of mixed images the share of the class that was guessed
        right = (guess == targets).float() if targets.ndim == 1 else targets.gather(1, guess[:, None])
        loss = F.cross_entropy(logits, targets, label_smoothing=self.trial.label_smoothing)
        return loss, {"accuracy": right.mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.feed.validation())

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.feed.test())

    def _evaluate(self, model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        loss = torch.zeros((), dtype=torch.float64)
        correct = total = 0
        for images, labels in batches:
            logits = model(self.ready(images))
            loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
            correct += int((logits.argmax(1) == labels).sum())
            total += len(labels)
        return {"loss": float(loss) / total, "accuracy": correct / total}


def _ready(
    data: LabeledImages | LabeledImageFiles, channels_last: bool, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """uint8 B×C×H×W on ``device`` → float32 in the trial's memory format, zero mean and unit variance over training."""
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    scale, shift = 1 / (255 * std), -mean / std
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return lambda images: images.to(torch.float32, memory_format=layout).mul_(scale).add_(shift)


def _split(trial: Trial, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the training and validation samples, the same for every trial of a data set and these settings."""
    labels = labels.cpu()
    held = round(len(labels) * trial.validation)
    validation, training = stratified(labels, held, generator(SHARED, "split"))
    if trial.train_limit and trial.train_limit < len(training):
        kept, _ = stratified(labels[training], trial.train_limit, generator(SHARED, "train limit"))
        training = training[kept]
    return training, validation


ENTRIES = {"classification": Classification}
