"""A trial in progress: built, advanced by an epoch, saved, restored, and written down."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Epoch
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime import provenance
from bevel_lab.runtime.determinism import seed_global_generators
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.runtime.memory import PeakMemory, SavedBytes
from bevel_lab.runtime.rng import derive, generator
from bevel_lab.tasks import TASKS, Task
from bevel_lab.training.activations import ActivationFactory, CallSite, Snapshot
from bevel_lab.training.optim import lr_factor, make_optimizer, make_sharpness_schedule

_LOCAL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers whose statistics are those of what one process sees."""


class Trainer:
    """Everything that an epoch changes is in :meth:`state`; the rest follows from the trial.

    Args:
        trial: what to run; torch must be set up by ``determinism.deterministic``.
        source: where data sets that are files lie.
        device: where model and data go.
        group: the processes that share it.
    """

    def __init__(self, trial: Trial, source: Source, device: torch.device, group: ProcessGroup) -> None:
        if trial.processes != group.size:
            raise InvalidValue(
                f"the trial is for {trial.processes} processes and there are {group.size}; start them with "
                f"torchrun --nproc-per-node {trial.processes}."
            )
        data = load(trial.dataset, source)
        self.trial, self.device, self.group = trial, device, group
        self.memory = PeakMemory(device)
        self.task: Task = TASKS[trial.task](trial, data, device)
        self.steps = math.ceil(self.task.samples / trial.batch_size)
        self._build()
        self.epochs: list[Epoch] = []
        self.train_seconds = 0.0
        self.peak = 0
        self.saved_bytes = 0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def _build(self) -> None:
        trial = self.trial
        seed_global_generators(self.device, derive(trial.seed, "construction"))
        factory = ActivationFactory(trial.activation, trial.weights)
        self.model = self.task.build(factory)
        factory.load(self.model)
        self.loaded = {"weights": factory.loaded, "weights_digest": factory.digest} if trial.weights else {}
        self.sites: dict[str, CallSite] = factory.sites(self.model)
        own = [call.module for call in self.sites.values()]
        if not trial.weights:
            self.task.initialize(self.model, own, generator(trial.seed, "initialisation"))
        self.model = self.group.prepare(self.model.to(self.device))
        batch_norm_note = self.group.size > 1 and any(type(m) in _LOCAL for m in self.model.modules())
        words = f"over the part of a batch that each of {self.group.size} processes has"
        self.batch_norm_note = {"batch_norm": words} if batch_norm_note else {}
        if trial.channels_last:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                if tensor.ndim == 4:  # the format is of pictures; a convolution in space and time keeps its own
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        self.sharpness = make_sharpness_schedule(trial, self.model, self.steps * trial.epochs)
        self.activation_parameters = [p for module in own for p in module.parameters()]
        made = make_optimizer(trial, self.model, self.activation_parameters, self.steps)
        self.before = Snapshot.take(self.sites)
        called: Any = torch.compile(self.model) if trial.compile else self.model
        self.called, self.optimizer = self.group.setup(called, made)

    def state(self) -> dict[str, Any]:
        return {
            **self._identity(),
            "model": self.model.state_dict(),
            "optimiser": self.optimizer.state_dict(),
            "sharpness": self.sharpness.state_dict() if self.sharpness else {},
            "epochs": [vars(epoch) for epoch in self.epochs],
            "train_seconds": self.train_seconds,
            "peak": max(self.peak, self.memory.read()),
            "saved_bytes": self.saved_bytes,
            "started": self.started,
        }

    def _identity(self) -> dict[str, str]:
        """What must agree for the last bits to agree."""
        found = {"trial": self.trial.id, "data": str(self.task.facts.get("digest", ""))}
        if self.trial.weights:
            found["weights"] = self.loaded["weights_digest"]
        return found | {"device": provenance.device_name(self.device)} | provenance.versions()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; raises ``LabError`` if it is of another trial, data, device, torch or model."""
        for key, wanted in self._identity().items():
            if state.get(key) != wanted:
                raise LabError(f"the checkpoint is of {key} {state.get(key)}, not {wanted}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimiser"])
            if self.sharpness:
                self.sharpness.load_state_dict(state["sharpness"])
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            self.train_seconds, self.peak = state["train_seconds"], state["peak"]
            self.saved_bytes, self.started = state["saved_bytes"], state["started"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise LabError("the checkpoint was written by another version of the lab") from error

    def advance(self) -> None:
        """Train one epoch and validate."""
        began = time.perf_counter()
        train = self._train()
        trained = time.perf_counter()
        validation = self.evaluate(self.task.validate)
        self.train_seconds += trained - began
        self.epochs.append(Epoch(train=train, validation=validation, seconds=time.perf_counter() - began))

    def _train(self) -> dict[str, float]:
        seed, epoch = self.trial.seed, len(self.epochs)
        order = torch.randperm(self.task.samples, generator=generator(seed, "order", epoch))
        parts = order.tensor_split(self.steps)  # equal parts: no last batch of one sample, and every sample is seen
        batches = self.task.batches(parts, seed, epoch, self.group.shard)
        sums: dict[str, Tensor] = {}
        self.called.train()
        for k, (index, batch) in enumerate(zip(parts, batches, strict=True)):
            for name, value in self.step(epoch * self.steps + k, batch, len(index)).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
        return {name: float(total) / self.task.samples for name, total in self.group.all_reduce(sums).items()}

    def step(self, step: int, batch: Any, samples: int) -> dict[str, Tensor]:
        """One update from this process's share of a batch of ``samples``; returns its sums of loss and metrics."""
        factor = self.trial.lr * lr_factor(self.trial, step, self.steps * self.trial.epochs)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = factor * parameters["scale"]
        # dropout and noisy activations draw from the global generator: paired across arms, step by step
        seed_global_generators(self.device, derive(self.trial.seed, "noise", step * self.group.size + self.group.rank))
        first, end = self.group.shard(samples)
        saved = SavedBytes()
        with saved.watch(self.model) if step == 0 else contextlib.nullcontext(), self.precision():
            loss, metrics = self.task.loss(self.called, batch)
        self.saved_bytes += saved.total
        self.optimizer.zero_grad()
        # gradients are averaged over the processes, whose parts may differ by one sample
        self.group.backward(loss if self.group.size == 1 else loss * ((end - first) * self.group.size / samples))
        self.optimizer.step()
        if self.sharpness:
            self.sharpness.step()
        return {name: value * (end - first) for name, value in {"loss": loss.detach(), **metrics}.items()}

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.trial.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def evaluate(self, measure: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        self.called.eval()
        with torch.no_grad(), self.precision():
            return measure(self.called)
