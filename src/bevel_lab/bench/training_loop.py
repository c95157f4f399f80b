"""Measure what the lab adds to a training step, beside the loop that a person would write."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

import bevel
from bevel_lab.bench.timing import Timed, stopwatch
from bevel_lab.data.images import LabeledImages
from bevel_lab.data.images.augment import augment, draw
from bevel_lab.data.images.feed import InMemoryFeed
from bevel_lab.data.source import Source
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks.classification import Classification
from bevel_lab.training.trainer import Trainer

MODELS = ("cnn", "resnet20")
BATCH = 128


def epochs(model: str, threads: int) -> dict[str, Timed]:
    """Time both on digits with augmentation: each call trains one epoch, without validation."""
    spec = bevel.canonical("relu")
    trial = Trial(activation=spec, model=model, dataset="digits", batch_size=BATCH, threads=threads, epochs=100)
    trainer = Trainer(trial, Source(), torch.device("cpu"), ProcessGroup())
    return {
        "plain": stopwatch(_plain_epoch(trainer, copy.deepcopy(trainer.model)), trainer.steps),
        "lab": stopwatch(trainer.train_epoch, trainer.steps),
    }


def _plain_epoch(trainer: Trainer, model: nn.Module) -> Callable[[], None]:
    """Return a call that trains one epoch with the same batches, augmentation, model and optimizer, and nothing else:
    no random streams, metrics, schedule or record."""
    task = trainer.task
    assert isinstance(task, Classification)
    data = task.data
    assert isinstance(data, LabeledImages)
    assert isinstance(task.feed, InMemoryFeed)  # digits fit in memory
    training = task.feed.index
    images, labels = data.train.images, data.train.labels
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.mean, data.std))
    scale, shift = 1 / (255 * std), -mean / std
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True)
    generator = torch.Generator()

    def epoch() -> None:
        model.train()
        for index in training[torch.randperm(len(training))].tensor_split(trainer.steps):
            x = augment(images[index], data.flips, draw(len(index), generator)).float().mul_(scale).add_(shift)
            loss = F.cross_entropy(model(x), labels[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return epoch
