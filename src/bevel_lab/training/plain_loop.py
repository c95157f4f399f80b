"""The loop that a person would write, timed on a trial's own model, optimizer and batches."""

from __future__ import annotations

import itertools
import time

import torch
from torch.optim import Optimizer

from bevel_lab.runtime.memory import synchronize
from bevel_lab.training.optim import make_optimizer
from bevel_lab.training.trainer import Trainer

STEPS = 5
"""Fewest timed steps."""
SECONDS = 0.5
"""Shortest timed span, and shortest training that is compared with it: less is at the mercy of what else runs."""


def seconds_per_sample(trainer: Trainer) -> float:
    """Seconds that a plain loop takes for a training sample: no seeding, schedule, sums of metrics or record.

    It does one step to warm up, then at least :data:`STEPS`, and so many that they take :data:`SECONDS`. That is at the
    end of a trial, so that both are timed on the same machine with the same neighbors. The model keeps its parameters
    and buffers.

    Returns:
        The seconds; 0.0 if an epoch has one batch only, the training was shorter than :data:`SECONDS` or had no more
        than :data:`STEPS` steps, or several processes share the trial.
    """
    short = trainer.steps < 2 or trainer.steps * trainer.trial.epochs <= STEPS or trainer.train_seconds < SECONDS
    if short or trainer.group.size > 1:
        return 0.0
    model = trainer.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = make_optimizer(trainer.trial, model, trainer.activation_parameters, trainer.steps)
    trainer.wrapped.train()
    _timed(trainer, optimizer, 1)
    steps = STEPS
    while True:
        seconds, samples = _timed(trainer, optimizer, steps)
        if seconds >= SECONDS:
            break
        steps *= max(2, round(SECONDS / max(seconds, 1e-3)))
    model.load_state_dict(before)
    return seconds / samples


def _timed(trainer: Trainer, optimizer: Optimizer, steps: int) -> tuple[float, int]:
    """Time so many steps, on an epoch's batches over and over; return seconds and samples."""
    task, epoch = trainer.task, torch.arange(trainer.task.samples).tensor_split(trainer.steps)
    order = list(itertools.islice(itertools.cycle(epoch), steps))
    synchronize(trainer.device)
    began = time.perf_counter()
    for batch in task.batches(order, trainer.trial.seed, 0):
        with trainer.precision():
            loss, _ = task.loss(trainer.wrapped, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    synchronize(trainer.device)
    return time.perf_counter() - began, sum(map(len, order))
