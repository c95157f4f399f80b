"""Image classification: cross-entropy, accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.images import LabelledImages, Part, augment, normaliser, stratified
from bevel_lab.models import MODELS, Activation
from bevel_lab.streams import SHARED, generator
from bevel_lab.tasks import Task
from bevel_lab.trial import Trial

EVALUATE = 1000
"""Images evaluated at once; part of the result's last bits, therefore fixed."""


class Classification(Task):
    """Images into classes. ``data`` is a :class:`LabelledImages`; a batch is (float32 images, int64 labels)."""

    metric = "accuracy"

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        if not isinstance(data, LabelledImages):
            raise InvalidValue(f"classification takes labelled images; data set {trial.dataset!r} is of another task.")
        self.model = MODELS.item(trial.model)
        if self.model.task != "classification":
            raise InvalidValue(f"model {trial.model!r} is for {self.model.task}; choose one for classification.")
        if min(data.size) < self.model.smallest:
            raise InvalidValue(
                f"model {trial.model!r} takes images of at least {self.model.smallest} pixels a side; "
                f"{trial.dataset!r} has {data.size[0]}×{data.size[1]}."
            )
        self.data, self.device, self.augment = data, device, trial.augment
        self.normalise = normaliser(data, device)
        training, validation = _split(trial, data)
        self.samples = len(training)
        self.train_index = training.to(device)
        self.train_part = data.train.to(device)
        self.validation_part = Part(data.train.images[validation], data.train.labels[validation]).to(device)

    def build(self, activation: Activation) -> nn.Module:
        model: nn.Module = self.model.build(activation, self.data.channels, self.data.size, self.data.classes)
        return model

    def initialise(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        if not self.model.own_init:
            super().initialise(model, sites, generator)

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = self.train_index[index.to(self.device)]
        images = self.train_part.images[chosen]
        if self.augment:
            images = augment(images, self.data.flips, generator)
        return self.normalise(images), self.train_part.labels[chosen]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = batch
        logits = model(images)
        return F.cross_entropy(logits, labels), {"accuracy": (logits.detach().argmax(1) == labels).float().mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.validation_part)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.data.test.to(self.device))

    def _evaluate(self, model: nn.Module, part: Part) -> dict[str, float]:
        loss = torch.zeros((), dtype=torch.float64)
        correct = 0
        for start in range(0, len(part), EVALUATE):
            labels = part.labels[start : start + EVALUATE]
            logits = model(self.normalise(part.images[start : start + EVALUATE]))
            loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
            correct += int((logits.argmax(1) == labels).sum())
        return {"loss": float(loss) / len(part), "accuracy": correct / len(part)}


def _split(trial: Trial, data: LabelledImages) -> tuple[Tensor, Tensor]:
    """Indices of the training and validation samples, the same for every trial of a data set and these settings."""
    labels = data.train.labels.cpu()
    held = round(len(labels) * trial.validation)
    validation, training = stratified(labels, held, generator(SHARED, "split"))
    if trial.train_limit and trial.train_limit < len(training):
        kept, _ = stratified(labels[training], trial.train_limit, generator(SHARED, "train limit"))
        training = training[kept]
    return training, validation


ENTRIES = {"classification": Classification}
