"""The loop that a person would write, timed on a trial's own model, optimizer and batches."""

from __future__ import annotations

import time

import torch

from bevel_lab.runtime.memory import synchronize
from bevel_lab.training.optim import make_optimizer
from bevel_lab.training.trainer import Trainer

STEPS = 5


def seconds_per_sample(trainer: Trainer) -> float:
    """Seconds that a plain loop takes for a training sample: no seeding, schedule, sums of metrics or record.

    It does one step to warm up and at most :data:`STEPS` timed ones, at the end of a trial, so that both are timed on
    the same machine with the same neighbors. The model keeps its parameters and buffers.

    Returns:
        The seconds; 0.0 if an epoch has too few batches to time one, or several processes share the trial.
    """
    task, model, trial = trainer.task, trainer.model, trainer.trial
    order = torch.arange(task.samples).tensor_split(trainer.steps)[: STEPS + 1]
    if trainer.group.size > 1 or len(order) < 2:
        return 0.0
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = make_optimizer(trial, model, trainer.activation_parameters, trainer.steps)
    trainer.wrapped.train()
    began = 0.0
    for step, batch in enumerate(task.batches(order, trial.seed, 0)):
        with trainer.precision():
            loss, _ = task.loss(trainer.wrapped, batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step == 0:
            synchronize(trainer.device)
            began = time.perf_counter()
    synchronize(trainer.device)
    seconds = time.perf_counter() - began
    model.load_state_dict(before)
    return seconds / sum(map(len, order[1:]))
