"""A trial in progress: built, advanced epoch by epoch, saved and restored."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel.surgery._copy import copy_model
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Epoch
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime import provenance
from bevel_lab.runtime.determinism import seed_global_generators
from bevel_lab.runtime.distributed import SINGLE_PROCESS, ProcessGroup
from bevel_lab.runtime.memory import PeakMemory, SavedBytes
from bevel_lab.runtime.rng import derive, generator
from bevel_lab.tasks import TASKS, Task
from bevel_lab.training import shipping
from bevel_lab.training.activations import ActivationFactory, CallSite, describe
from bevel_lab.training.optim import lr_factor, make_optimizer, make_sharpness_schedule

T = TypeVar("T")
_PROGRESS = ("train_seconds", "peak", "saved_bytes", "started")
"""Attributes of a trainer that a checkpoint holds as they are."""
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers whose statistics are those of one process's shard; ``nn.SyncBatchNorm`` is not among them."""


class Trainer:
    """Trains one trial. :meth:`state` holds all that an epoch changes; the rest follows from the trial.

    Args:
        trial: what to run; the caller has set up torch by ``determinism.deterministic``.
        source: where data sets that are files lie.
        device: device of the model and the data.
        group: the processes that share every batch.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.

    Attributes:
        task: the trial's task with its data.
        steps: optimizer steps an epoch.
        model: the network; from the end of the training on what is shipped, if the trial says so.
        trained: the network that is trained and that a checkpoint holds.
        wrapped: the module that is called instead of ``model``: compiled or data parallel if the trial says so.
        sites: the call sites of the activations by module name; ``before`` describes them before training.
        optimizer, sharpness: the optimizer and, or None, the sharpness schedule.
        facts: what a record says of pretrained weights, batch norms and what was shipped.
        epochs: the finished epochs.
        train_seconds: wall time of training alone.
        saved_bytes: bytes kept for backward in the first step.
        started: ISO time, UTC.
    """

    def __init__(
        self, trial: Trial, source: Source, device: torch.device, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
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
        self._build_model()
        self._build_optimizer()
        self.epochs: list[Epoch] = []
        self.train_seconds = 0.0
        self.peak = self.saved_bytes = 0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def _build_model(self) -> None:
        trial, group = self.trial, self.group
        seed_global_generators(self.device, derive(trial.seed, "construction"))
        factory = ActivationFactory(trial.activation, trial.weights)
        model = self.task.build(factory)
        factory.load(model)
        self.facts = {"weights": factory.loaded, "weights_digest": factory.digest} if trial.weights else {}
        self.sites: dict[str, CallSite] = factory.sites(model)
        activations = [call.module for call in self.sites.values()]
        if not trial.weights:
            self.task.initialize(model, activations, generator(trial.seed, "initialisation"))
        self.model = group.prepare(model.to(self.device))
        if group.size > 1 and any(type(m) in _BATCH_NORMS for m in self.model.modules()):
            self.facts["batch_norm"] = f"over the part of a batch that each of {group.size} processes has"
        if trial.channels_last:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                if tensor.ndim == 4:  # the format exists for 2d convolutions only
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        self.activation_parameters = [p for module in activations for p in module.parameters()]
        self.trained = self.model
        shipping.check(trial, self.sites)
        self.fine_tuning = shipping.fine_tuning_epochs(trial)

    def _build_optimizer(self) -> None:
        trial = self.trial
        self.sharpness = make_sharpness_schedule(trial, self.model, self.steps * (trial.epochs - self.fine_tuning))
        optimizer = make_optimizer(trial, self.model, self.activation_parameters, self.steps)
        self.before = {name: describe(call) for name, call in self.sites.items()}
        wrapped: Any = torch.compile(self.model) if trial.compile else self.model
        self.wrapped, self.optimizer = self.group.setup(wrapped, optimizer)

    def advance(self) -> None:
        """Train one epoch, then validate."""
        began = time.perf_counter()
        left = self.trial.epochs - len(self.epochs)
        if self.fine_tuning and left == self.fine_tuning:
            self.ship()
        train = self.train_epoch()
        trained = time.perf_counter()
        if self.trial.ship and not self.fine_tuning and left == 1:
            self.ship()
        validation = self.evaluate(self.task.validate)
        self.train_seconds += trained - began
        self.epochs.append(Epoch(train=train, validation=validation, seconds=time.perf_counter() - began))

    def ship(self) -> None:
        """Put in what is shipped: for good where training goes on, else into a copy, which no checkpoint has."""
        if not self.fine_tuning:
            self.model = copy_model(self.trained)
        named = dict(self.model.named_modules())
        sites = {name: call._replace(module=named[name]) for name, call in self.sites.items()}
        self.sites, self.facts["shipped"] = shipping.put_in(self.model, self.trial, sites)
        self.model.train(self.trained.training)
        wrapped: Any = torch.compile(self.model) if self.trial.compile else self.model
        self.wrapped = wrapped

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch; returns the means of loss and metrics over its samples."""
        seed, epoch = self.trial.seed, len(self.epochs)
        order = torch.randperm(self.task.samples, generator=generator(seed, "order", epoch))
        parts = order.tensor_split(self.steps)  # equal parts: no last batch of one sample, and every sample is seen
        batches = self.task.batches(parts, seed, epoch, self.group.shard)
        sums: dict[str, Tensor] = {}
        self.wrapped.train()
        for k, (samples, batch) in enumerate(zip(parts, batches, strict=True)):
            for name, value in self.step(epoch * self.steps + k, batch, len(samples)).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
        return {name: float(total) / self.task.samples for name, total in self.group.all_reduce(sums).items()}

    def step(self, step: int, batch: Any, samples: int) -> dict[str, Tensor]:
        """One optimizer step.

        Args:
            step: number of the step, counted over all epochs.
            batch: this process's shard of the batch.
            samples: number of samples in the whole batch.

        Returns:
            Sums of loss and metrics over the shard (detached scalars).
        """
        factor = self.trial.lr * self._lr_factor(step)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = factor * parameters["scale"]
        # dropout and noisy activations draw from the global generator; seeding every step pairs the draws of all arms
        seed_global_generators(self.device, derive(self.trial.seed, "noise", step * self.group.size + self.group.rank))
        first, end = self.group.shard(samples)
        saved = SavedBytes()
        with saved.watch(self.model) if step == 0 else contextlib.nullcontext(), self.precision():
            loss, metrics = self.task.loss(self.wrapped, batch)
        self.saved_bytes += saved.total
        self.optimizer.zero_grad()
        # gradients are averaged over the processes, whose shards may differ by one sample
        weight = (end - first) * self.group.size / samples
        self.group.backward(loss if self.group.size == 1 else loss * weight)
        self.optimizer.step()
        if self.sharpness:
            self.sharpness.step()
        return {name: value * (end - first) for name, value in {"loss": loss.detach(), **metrics}.items()}

    def _lr_factor(self, step: int) -> float:
        tuned, total = self.steps * self.fine_tuning, self.steps * self.trial.epochs
        before, step = total - tuned, min(step, total - 1)  # a dry run may time more steps than there are
        return (
            lr_factor(self.trial, step, before) if step < before else shipping.fine_tuning_factor(step - before, tuned)
        )

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass: autocast to bfloat16 if the trial says so."""
        if self.trial.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def evaluate(self, measure: Callable[[nn.Module], T]) -> T:
        """The result of ``measure`` for the model, in eval mode and without gradient."""
        self.wrapped.eval()
        with torch.no_grad(), self.precision():
            return measure(self.wrapped)

    def peak_memory(self) -> int:
        """Peak memory in bytes over all sessions of the trial."""
        return max(self.peak, self.memory.read())

    def state(self) -> dict[str, Any]:
        """Everything that training has changed, for a checkpoint."""
        self.peak = self.peak_memory()
        progress = {name: getattr(self, name) for name in _PROGRESS}
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**self._identity(), **parts, "epochs": [vars(epoch) for epoch in self.epochs], **progress}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            LabError: if it is of another trial, data set, device, torch or model.
        """
        for key, wanted in self._identity().items():
            if state.get(key) != wanted:
                raise LabError(f"the checkpoint is of {key} {state.get(key)}, not {wanted}")
        try:
            done = len(state["epochs"])
            if self.fine_tuning and done > self.trial.epochs - self.fine_tuning:
                self.ship()
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            if self.trial.ship and not self.fine_tuning and done == self.trial.epochs:
                self.ship()
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            for name in _PROGRESS:
                setattr(self, name, state[name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise LabError("the checkpoint was written by another version of the lab") from error

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own, by the names in checkpoints."""
        parts = {"model": self.trained, "optimiser": self.optimizer}
        return parts | ({"sharpness": self.sharpness} if self.sharpness else {})

    def _identity(self) -> dict[str, str]:
        """What must be equal for the last bits to be equal."""
        found = {"trial": self.trial.id, "data": str(self.task.facts.get("digest", ""))}
        if self.trial.weights:
            found["weights"] = self.facts["weights_digest"]
        return found | {"device": provenance.device_name(self.device)} | provenance.versions()
