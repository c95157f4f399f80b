"""Checks before a trial runs: its cost, and whether it can run at all."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.errors import first_line
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.determinism import deterministic
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.memory import synchronize
from bevel_lab.training.trainer import Trainer

SLOW_STEP = 2.0
"""Seconds of steps after which no more are timed."""


@dataclass(frozen=True)
class Probe:
    """The cost of a trial, estimated from a few steps.

    Attributes:
        seconds: wall time of the whole trial.
        step_seconds: wall time of one training step.
        memory: peak memory in bytes, as a record counts it.
    """

    seconds: float
    step_seconds: float
    memory: int


def probe(trial: Trial, *, source: Source | None = None, device: str = "cpu", steps: int = 3) -> Probe:
    """Estimate the cost of a trial from ``steps`` timed training steps after one to warm up.

    Where the first step takes seconds it is the estimate, or only one more is timed, so that large models end soon.
    A forward pass of evaluation is taken to cost a third of a training step; a task that does more than a pass a sample
    estimates the time of it. The validation part is evaluated after every epoch, the test part once.

    Args:
        trial: what would run.
        source: where data sets that are files lie.
        device: torch device.
        steps: number of timed steps.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.
    """
    place = as_device(device)
    with deterministic(trial.threads, place):
        trainer = Trainer(trial, source or Source(), place)
        samples = torch.arange(min(trial.batch_size, trainer.task.samples))
        trainer.wrapped.train()
        seconds = _step_seconds(trainer, samples, steps)
        forward = seconds / 3 / len(samples)
        validation, test = trainer.evaluate(lambda model: trainer.task.evaluation_seconds(model, forward))
        total = trial.epochs * (trainer.steps * seconds + validation) + test
        return Probe(total, seconds, trainer.memory.read())


def _step_seconds(trainer: Trainer, samples: torch.Tensor, steps: int) -> float:
    """Wall time of a training step on ``samples``."""
    began, taken = time.perf_counter(), 0.0
    for step, batch in enumerate(trainer.task.batches([samples] * (steps + 1), trainer.trial.seed, 0)):
        trainer.step(step, batch, len(samples))
        synchronize(trainer.device)
        taken = time.perf_counter() - began
        if step == 0 and taken < SLOW_STEP:
            began = time.perf_counter()
        elif taken > SLOW_STEP:
            return taken / max(step, 1)
    return taken / steps


def rehearse(trial: Trial, *, source: Source | None = None, device: str = "cpu") -> None:
    """Prepare a trial and do one step on two samples, to find errors before workers start.

    Args:
        trial, source, device: as for :func:`probe`.

    Raises:
        bevel.errors.BevelError: as :func:`probe`, and if the activation does not fit a call site of the model.
    """
    place = as_device(device)
    with deterministic(trial.threads, place):
        trainer = Trainer(trial, source or Source(), place)
        trainer.wrapped.train()
        batch = next(trainer.task.batches([torch.arange(2)], trial.seed, 0))
        try:
            trainer.step(0, batch, 2)
        except RuntimeError as error:
            raise InvalidValue(
                f"{trial.activation!r} cannot be trained in {trial.model!r} on {trial.dataset!r}: {first_line(error)}"
            ) from error
