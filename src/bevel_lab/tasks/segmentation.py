"""Semantic segmentation: a class for every pixel; cross-entropy, mean IoU, pixel accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.images.masks import VOID, Cut, Key, MaskedImages, SegmentationDataset
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation
from bevel_lab.runtime.rng import SHARED, generator
from bevel_lab.tasks import Shard, Task, whole_batch
from bevel_lab.tasks._segmentation_metrics import Metrics
from bevel_lab.tasks._segmentation_pictures import painted, photograph

Batch = tuple[Tensor, Tensor]
"""Images, float32 B×3×H×W, and masks, int64 B×H×W with ``VOID`` where nothing is to be learnt."""

OFF = ("mixup", "cutmix", "randaugment")


class Segmentation(Task):
    """Images into masks; ``data`` is a :class:`MaskedImages`.

    A model's ``build(activation, in_channels, image_size, classes)`` gives a network from B×in_channels×H×W images of
    any size not below its ``smallest`` to B×classes×H×W logits; ``image_size`` is the one it is trained on. Training
    images are cropped at random and mirrored, unless the trial does not augment; evaluation is on whole ones.

    The loss is cross-entropy, averaged over an image's pixels without the void ones and then over images, so that it is
    the same however a batch is shared among processes.
    """

    metric = "miou"
    metric_is_fraction = True
    AT_ONCE = 2**19
    """Pixels evaluated at once, at least one image; part of the result's last bits, therefore fixed."""
    DRAWN = 3

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        if not isinstance(data, MaskedImages):
            raise InvalidValue(f"segmentation takes images with masks; data set {trial.dataset!r} is of another task.")
        self.model = MODELS.item(trial.model)
        if self.model.task != "segmentation":
            raise InvalidValue(f"model {trial.model!r} is for {self.model.task}; choose one for segmentation.")
        self.seen = data.crop if trial.augment else data.size
        if min(self.seen) < self.model.smallest:
            raise InvalidValue(
                f"model {trial.model!r} takes images of at least {self.model.smallest} pixels a side; "
                f"{trial.dataset!r} gives {self.seen[0]}×{self.seen[1]}."
            )
        for name in OFF:
            if getattr(trial, name):
                raise InvalidValue(f"{name} is for classification; got {getattr(trial, name)!r}. Leave it at 0.")
        Metrics(len(data.classes))  # a missing library is found before the training
        self.trial, self.data, self.device = trial, data, device
        self.index, held_out = _split(trial, data)
        self.samples, self.validated, self.tested = len(self.index), len(held_out), int(data.facts["test"])
        self.facts = data.facts
        self.train = data.train.to(device)
        self.held_out = (self.train, held_out) if data.validation is None else (data.validation.to(device), held_out)
        self.layout = torch.channels_last if trial.channels_last else torch.contiguous_format
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self.scale, self.shift = 1 / (255 * std), -mean / std

    def build(self, activation: Activation) -> nn.Module:
        model: nn.Module = self.model.build(activation, 3, self.seen, len(self.data.classes))
        return model

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        if not self.model.own_init:
            super().initialize(model, sites, generator)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        cuts = self._cuts(seed, epoch)
        keys: Iterator[list[Key]] = (
            [(self.index[i], cuts[i] if cuts else None) for i in samples[first:end].tolist()]
            for samples in order
            for first, end in [shard(len(samples))]
        )
        yield from map(self._ready, self.train.batches(keys))

    def _cuts(self, seed: int, epoch: int) -> list[Cut]:
        """What is seen of every training sample in an epoch; empty where nothing is augmented."""
        if not self.trial.augment:
            return []
        (high, wide), (height, width) = self.data.size, self.data.crop
        draws = torch.rand(self.samples, 3, generator=generator(seed, "augmentation", epoch), dtype=torch.float64)
        return [
            Cut(int(down * (high - height + 1)), int(right * (wide - width + 1)), height, width, side < 0.5)
            for down, right, side in draws.tolist()
        ]

    def _ready(self, scenes: Tensor) -> Batch:
        """Uint8 B×4×H×W → images of zero mean and unit variance over training, and masks."""
        scenes = scenes.to(self.device, non_blocking=True)
        images = scenes[:, :3].to(torch.float32, memory_format=self.layout).mul_(self.scale).add_(self.shift)
        return images, scenes[:, 3].long()

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, masks = batch
        logits = model(images)
        seen = masks != VOID
        weights = seen / seen.sum((1, 2), keepdim=True).clamp(min=1) / len(masks)
        loss = (self._losses(logits, masks) * weights).sum()
        return loss, {"accuracy": ((logits.detach().argmax(1) == masks) * weights).sum()}

    def _losses(self, logits: Tensor, masks: Tensor) -> Tensor:
        """B×H×W, zero where the mask is void."""
        smoothing = self.trial.label_smoothing
        # kept by pixel: the mean of a map has no deterministic form on a GPU
        return F.cross_entropy(logits.float(), masks, ignore_index=VOID, reduction="none", label_smoothing=smoothing)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, *self.held_out)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.data.test.to(self.device), list(range(len(self.data.test))))

    def _evaluate(self, model: nn.Module, scenes: SegmentationDataset, numbers: list[int]) -> dict[str, float]:
        metrics, total = Metrics(len(self.data.classes)), torch.zeros((), dtype=torch.float64)
        at_once = max(1, self.AT_ONCE // (self.data.size[0] * self.data.size[1]))
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
        chosen = sorted({len(test) * k // self.DRAWN for k in range(self.DRAWN)})
        found = []
        for number, scene in zip(chosen, test.batches([(number, None)] for number in chosen), strict=True):
            guess = model(self._ready(scene)[0]).argmax(1)[0].to(torch.uint8)
            image, names, colors = scene[0, :3], self.data.classes, self.data.colors
            truth, made = (painted(image, mask, names, colors) for mask in (scene[0, 3], guess))
            found.append(Picture(title=test.names[number], given=photograph(image), truth=truth, guess=made))
        return found


def _split(trial: Trial, data: MaskedImages) -> tuple[list[int], list[int]]:
    """Numbers of the training and validation samples, the same for every trial of a data set and these settings.

    A data set's own validation part is taken whole, whatever the trial's ``validation`` says.
    """
    count = len(data.train)
    held = max(1, round(count * trial.validation)) if data.validation is None else 0
    if count - held < 2:
        raise InvalidValue(f"training needs at least two images; of {count} {held} are held out for validation.")
    order = torch.randperm(count, generator=generator(SHARED, "split"))
    training = order[held:]
    if trial.train_limit and trial.train_limit < len(training):
        training = training[: trial.train_limit]
    held_out = sorted(order[:held].tolist()) if data.validation is None else list(range(len(data.validation)))
    return sorted(training.tolist()), held_out


ENTRIES = {"segmentation": Segmentation}
