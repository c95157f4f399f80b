"""The loop that a person would write, timed on a trial's own model, optimiser and batches."""

from __future__ import annotations

import time

import torch

from bevel_lab.runtime.memory import synchronize
from bevel_lab.training.optim import make_optimizer
from bevel_lab.training.trainer import Trainer

STEPS = 5


def seconds_per_sample(trainer: Trainer) -> float:
    """Seconds that a bare loop takes for a training sample: no streams, schedule, sums of metrics or record.

    One step to warm up, then at most :data:`STEPS` timed ones, at the end of a trial, so that both are timed on the
    same machine with the same neighbours. The model comes out with the parameters and buffers it had. Trials of
    several processes are not timed.

    Returns:
        The seconds, or 0.0 where an epoch has too few batches to time one.
    """
    task, model, trial = trainer.task, trainer.model, trainer.trial
    order = torch.arange(task.samples).tensor_split(trainer.steps)[: STEPS + 1]
    if trainer.group.size > 1 or len(order) < 2:
        return 0.0
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = make_optimizer(trial, model, trainer.activation_parameters, trainer.steps)
    trainer.called.train()
    began = 0.0
    for k, batch in enumerate(task.batches(order, trial.seed, 0)):
        with trainer.precision():
            loss, _ = task.loss(trainer.called, batch)
        made.zero_grad()
        torch.autograd.backward(loss)
        made.step()
        if k == 0:
            synchronize(trainer.device)
            began = time.perf_counter()
    synchronize(trainer.device)
    spent = time.perf_counter() - began
    model.load_state_dict(before)
    return spent / sum(map(len, order[1:]))
