"""Before a trial runs: what it would cost, and whether it can run at all."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.determinism import deterministic
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.distributed import SINGLE_PROCESS
from bevel_lab.runtime.memory import synchronize
from bevel_lab.training.trainer import Trainer


@dataclass(frozen=True)
class Probe:
    """What a trial would cost, from a few steps of it.

    Attributes:
        seconds: estimated wall time of the whole trial.
        step_seconds: of one training step.
        memory: peak memory in bytes, as a record counts it.
    """

    seconds: float
    step_seconds: float
    memory: int


def probe(trial: Trial, *, source: Source | None = None, device: str = "cpu", steps: int = 3) -> Probe:
    """Time ``steps`` training steps after one to warm up.

    Evaluation, of the validation part after every epoch and of the test part once, is not timed; it is taken to cost a
    third of a training step a sample (a forward pass without its two backward ones).
    """
    place = as_device(device)
    with deterministic(trial.threads, place):
        trainer = Trainer(trial, source or Source(), place, SINGLE_PROCESS)
        index = torch.arange(min(trial.batch_size, trainer.task.samples))
        trainer.called.train()
        began = 0.0
        for k, batch in enumerate(trainer.task.batches([index] * (steps + 1), trial.seed, 0)):
            trainer.step(k, batch, len(index))
            if k == 0:
                synchronize(place)
                began = time.perf_counter()
        synchronize(place)
        step = (time.perf_counter() - began) / steps
        evaluated = trial.epochs * trainer.task.validated + trainer.task.tested
        return Probe((trainer.steps * trial.epochs + evaluated / 3 / len(index)) * step, step, trainer.memory.read())


def rehearse(trial: Trial, *, source: Source | None = None, device: str = "cpu") -> None:
    """Do what precedes the first epoch, and one step on two samples; raises what :func:`run` would raise.

    Raises:
        InvalidValue: where the activation cannot serve a site of the model.
    """
    place = as_device(device)
    with deterministic(trial.threads, place):
        trainer = Trainer(trial, source or Source(), place, SINGLE_PROCESS)
        trainer.called.train()
        batch = next(trainer.task.batches([torch.arange(2)], trial.seed, 0))
        try:
            trainer.step(0, batch, 2)
        except RuntimeError as error:
            raise InvalidValue(
                f"{trial.activation!r} cannot be trained in {trial.model!r} on {trial.dataset!r}: "
                f"{str(error).splitlines()[0]}"
            ) from error
