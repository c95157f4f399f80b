"""Action recognition: clips into classes; cross-entropy, top-1 and top-5."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images import stratified
from bevel_lab.data.video import Clips, Split
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation
from bevel_lab.runtime.rng import SHARED, generator
from bevel_lab.tasks import Shard, Task, whole_batch
from bevel_lab.tasks._video_pictures import strip

PICTURES = 4
FIVE = 5
"""Top-5 says something where there are more classes than five."""


class Video(Task):
    """Clips into classes.

    ``data`` is a :class:`Clips`. A batch is float32 B×T×C×H×W and its labels, int64 B. Models are called as
    ``build(activation, channels, frames, image_size, classes)`` and give B×classes logits. With ``augment`` what is
    random of a training clip is drawn anew every epoch; without, training sees the clips that evaluation would.
    """

    metric = "top1"
    metric_is_fraction = True

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        if not isinstance(data, Clips):
            raise InvalidValue(f"video takes labelled clips; data set {trial.dataset!r} is of another task.")
        self.model = MODELS.item(trial.model)
        if self.model.task != "video":
            raise InvalidValue(f"model {trial.model!r} is for {self.model.task}; choose one for video.")
        if min(data.size) < self.model.smallest:
            raise InvalidValue(
                f"model {trial.model!r} takes frames of at least {self.model.smallest} pixels a side; "
                f"{trial.dataset!r} has {data.size[0]}×{data.size[1]}."
            )
        for name in ("mixup", "cutmix", "randaugment"):
            if getattr(trial, name):
                raise InvalidValue(f"{name} is for pictures and not for clips; got {getattr(trial, name)}, leave it 0.")
        self.trial, self.data, self.device = trial, data, device
        self.training, self.held_out = _split(trial, data.labels["train"])
        self.samples, self.validated = len(self.training), len(self.held_out)
        self.tested = int(data.facts["test"])
        self.facts = data.facts
        self.ready = _ready(data, trial.channels_last, device)

    def build(self, activation: Activation) -> nn.Module:
        data = self.data
        model: nn.Module = self.model.build(activation, data.channels, data.frames, data.size, len(data.classes))
        return model

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        if not self.model.own_init:
            super().initialize(model, sites, generator)

    def batches(
        self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch
    ) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = [self.training[samples[slice(*shard(len(samples)))]] for samples in order]
        return self._labelled("train", numbers, (seed, epoch) if self.trial.augment else None)

    def _labelled(
        self, part: Split, numbers: Sequence[Tensor], draw: tuple[int, int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.data.labels[part]
        for chosen, clips in zip(numbers, self.data.clips(part, numbers, self.device, draw), strict=True):
            yield self.ready(clips), labels[chosen].to(self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        clips, labels = batch
        logits = model(clips)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.trial.label_smoothing)
        return loss, {"top1": (logits.detach().argmax(1) == labels).float().mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, "train", self.held_out)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, "test", torch.arange(len(self.data.labels["test"])))

    def _evaluate(self, model: nn.Module, part: Split, numbers: Tensor) -> dict[str, float]:
        loss = torch.zeros((), dtype=torch.float64)
        hits: dict[str, int] = {}
        for clips, labels in self._labelled(part, torch.split(numbers, self.data.at_once)):
            logits = model(clips)
            loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
            for name, count in right(logits, labels).items():
                hits[name] = hits.get(name, 0) + count
        return {"loss": float(loss) / len(numbers)} | {name: count / len(numbers) for name, count in hits.items()}

    def pictures(self, model: nn.Module) -> list[Picture]:
        labels = self.data.labels["test"]
        numbers = torch.randperm(len(labels), generator=generator(SHARED, "pictures"))[:PICTURES]
        clips = next(iter(self.data.clips("test", [numbers], self.device)))
        guesses = model(self.ready(clips)).argmax(1).tolist()
        names = self.data.classes
        return [
            Picture(
                title=f"test clip {number}", given=strip(clip), truth=names[int(labels[number])], guess=names[guess]
            )
            for number, clip, guess in zip(numbers.tolist(), clips, guesses, strict=True)
        ]


def right(logits: Tensor, labels: Tensor) -> dict[str, int]:
    """How many of B×classes logits have the label first, and among the first five of more classes than that."""
    found = {"top1": logits.argmax(1) == labels}
    if logits.shape[1] > FIVE:
        found["top5"] = (logits.topk(FIVE, 1).indices == labels[:, None]).any(1)
    return {name: int(hits.sum()) for name, hits in found.items()}


def _ready(data: Clips, channels_last: bool, device: torch.device) -> Callable[[Tensor], Tensor]:
    """uint8 B×T×C×H×W on ``device`` → float32, frames in the trial's memory format, zero mean and unit variance."""
    mean, std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (data.mean, data.std))
    scale, shift = 1 / (255 * std), -mean / std
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def ready(clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1).to(torch.float32, memory_format=layout).mul_(scale).add_(shift)
        return frames.view(clips.shape)

    return ready


def _split(trial: Trial, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the training and validation clips, the same for every trial of a data set and these settings."""
    validation, training = stratified(labels, round(len(labels) * trial.validation), generator(SHARED, "split"))
    if trial.train_limit and trial.train_limit < len(training):
        kept, _ = stratified(labels[training], trial.train_limit, generator(SHARED, "train limit"))
        training = training[kept]
    return training, validation


ENTRIES = {"video": Video}
