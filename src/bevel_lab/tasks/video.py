"""Action recognition: clips into classes; cross-entropy, top-1 and top-5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.data.images.normalize import Normalize
from bevel_lab.data.video import Clips, Split
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.runtime.rng import SHARED, generator
from bevel_lab.tasks import Shard, Task, sharded, whole_batch
from bevel_lab.tasks._metrics import evaluate_classifier
from bevel_lab.tasks._pictures import draw_clip

PICTURES = 4
FIVE = 5
"""Top-5 is reported if there are more than five classes."""

Batch = tuple[Tensor, Tensor]
"""Clips, float32 B×T×C×H×W, and labels, int64 B."""


class Video(Task):
    """Clips into classes.

    A model's ``build(activation, channels, frames, image_size, classes)`` returns a network from B×T×C×H×W clips to
    B×classes logits. If the trial augments, the random choices for a training clip are drawn anew every epoch;
    otherwise training sees the clips that evaluation would see.
    """

    name = "video"
    data_types = (Clips,)
    unsupported = ("mixup", "cutmix", "randaugment")
    metric = "top1"
    metric_is_fraction = True
    input_shape, input_form = (1, 8, 3, 32, 32), "N×T×C×H×W"
    data: Clips

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        self.check_size(data.size)
        labels = data.labels["train"]
        self.training, self.held_out = self.split(len(labels), labels)
        self.samples, self.validated = len(self.training), len(self.held_out)
        self.normalize = Normalize(data.mean, data.std, trial.channels_last, device)

    def build(self, activation: Activation) -> nn.Module:
        data = self.data
        return self.model.build(activation, data.channels, data.frames, data.size, len(data.classes))

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        network = model.build(activation, shape[2], shape[1], shape[3:], cls.CLASSES_WITHOUT_DATA)
        return network, (torch.zeros(1).expand(shape),)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        numbers = [self.training[samples] for samples in sharded(order, shard)]
        return self._labeled("train", numbers, (seed, epoch) if self.trial.augment else None)

    def _labeled(self, part: Split, numbers: Sequence[Tensor], draw: tuple[int, int] | None = None) -> Iterator[Batch]:
        labels = self.data.labels[part]
        for chosen, clips in zip(numbers, self.data.clips(part, numbers, self.device, draw), strict=True):
            yield self._normalized(clips), labels[chosen].to(self.device)

    def _normalized(self, clips: Tensor) -> Tensor:
        return self.normalize(clips.flatten(0, 1)).view(clips.shape)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        clips, labels = batch
        logits = model(clips)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.trial.label_smoothing)
        return loss, {"top1": (logits.detach().argmax(1) == labels).float().mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, "train", self.held_out)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, "test", torch.arange(len(self.data.labels["test"])))

    def _evaluate(self, model: nn.Module, part: Split, numbers: Tensor) -> dict[str, float]:
        return evaluate_classifier(model, self._labeled(part, torch.split(numbers, self.data.at_once)), top_hits)

    def pictures(self, model: nn.Module) -> list[Picture]:
        labels = self.data.labels["test"]
        numbers = torch.randperm(len(labels), generator=generator(SHARED, "pictures"))[:PICTURES]
        clips = next(iter(self.data.clips("test", [numbers], self.device)))
        guesses = model(self._normalized(clips)).argmax(1).tolist()
        names = self.data.classes
        return [
            Picture(
                title=f"test clip {number}", given=draw_clip(clip), truth=names[int(labels[number])], guess=names[guess]
            )
            for number, clip, guess in zip(numbers.tolist(), clips, guesses, strict=True)
        ]


def top_hits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Whether B×classes logits rank the label first, and, of more than five classes, among the first five: bool, B."""
    found = {"top1": logits.argmax(1) == labels}
    if logits.shape[1] > FIVE:
        found["top5"] = (logits.topk(FIVE, 1).indices == labels[:, None]).any(1)
    return found


ENTRIES = {Video.name: Video}
