"""Run one trial. The same trial gives the same record, to the last bit, however often it was interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab import checkpoint, provenance
from bevel_lab.datasets import Source, load
from bevel_lab.determinism import fixed, seed_modules
from bevel_lab.errors import LabError
from bevel_lab.measure import PeakMemory, SavedBytes
from bevel_lab.record import Epoch, Record
from bevel_lab.sites import Call, Factory, Snapshot, account
from bevel_lab.streams import derive, generator
from bevel_lab.tasks import TASKS, Task
from bevel_lab.trial import Trial


def run(
    trial: Trial,
    *,
    label: str = "",
    source: Source | None = None,
    device: str = "cpu",
    state: Path | None = None,
    state_every: float = 1.0,
    on_epoch: Callable[[int, Epoch], None] = lambda done, epoch: None,
    on_note: Callable[[str], None] = warnings.warn,
) -> Record:
    """Train, validate after every epoch, test once after the last.

    Args:
        trial: what to run.
        label: the activation as the user typed it, for display; the canonical spec by default.
        source: where data sets that are files lie; by default the folder ``data``, nothing is downloaded.
        device: torch device.
        state: file for the trial's state; if it exists the trial goes on from it. Whoever stores the record removes it.
        state_every: seconds between writes of ``state``, which happen at ends of epochs only; 0 writes every epoch.
        on_epoch: called with (epochs done, the epoch) after each.
        on_note: called with a sentence for the user, e.g. that ``state`` was damaged and the trial starts again.

    Returns:
        The record. A diverged trial is finished all the same: its losses are NaN, its accuracies as measured.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.
    """
    place = as_device(device)
    with fixed(trial.threads, place):
        running = _start(trial, source or Source(), place, state, on_note)
        written = time.monotonic()
        while len(running.epochs) < trial.epochs:
            running.advance()
            if state is not None and time.monotonic() - written >= state_every:
                checkpoint.save(state, running.state())
                written = time.monotonic()
            on_epoch(len(running.epochs), running.epochs[-1])
        return running.record(label or trial.activation)


def rehearse(trial: Trial, *, source: Source | None = None, device: str = "cpu") -> None:
    """Do what precedes the first epoch; raises what :func:`run` would raise, without training."""
    place = as_device(device)
    with fixed(trial.threads, place):
        _Running(trial, source or Source(), place)


def as_device(name: str) -> torch.device:
    """The torch device called ``cpu``, ``cuda`` or ``cuda:1``; raises ``InvalidValue`` where there is none."""
    kind, _, index = name.partition(":")
    if name == "cpu" or (kind == "cuda" and (index.isdecimal() or name == "cuda")):
        if kind == "cpu" or int(index or 0) < torch.cuda.device_count():
            return torch.device(name)
        raise InvalidValue(f"there is no {name!r} here; torch finds {torch.cuda.device_count()} GPUs. Use 'cpu'.")
    raise InvalidValue(f"device is 'cpu', 'cuda' or 'cuda:NUMBER'; got {name!r}.")


def _start(
    trial: Trial, source: Source, device: torch.device, state: Path | None, on_note: Callable[[str], None]
) -> _Running:
    running = _Running(trial, source, device)
    if state is None:
        return running
    try:
        found = checkpoint.load(state)
        if found is not None:
            running.restore(found)
    except LabError as error:
        on_note(f"{error}; trial {trial.id} starts again.")
        return _Running(trial, source, device)
    return running


class _Running:
    """A trial in progress. Everything that an epoch changes is in :meth:`state`; the rest follows from the trial."""

    def __init__(self, trial: Trial, source: Source, device: torch.device) -> None:
        data = load(trial.dataset, source)
        self.trial, self.device = trial, device
        self.memory = PeakMemory(device)
        self.task: Task = TASKS[trial.task](trial, data, device)
        seed_modules(device, derive(trial.seed, "construction"))
        factory = Factory(trial.activation)
        self.model = self.task.build(factory)
        self.sites: dict[str, Call] = factory.sites(self.model)
        own = [call.module for call in self.sites.values()]
        self.task.initialise(self.model, own, generator(trial.seed, "initialisation"))
        self.model.to(device)
        self.activation_parameters = [p for module in own for p in module.parameters()]
        self.optimiser = _optimiser(trial, self.model, self.activation_parameters)
        self.before = Snapshot.take(self.sites)
        self.steps = math.ceil(self.task.samples / trial.batch_size)
        self.epochs: list[Epoch] = []
        self.train_seconds = 0.0
        self.peak = 0
        self.saved_bytes = 0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def state(self) -> dict[str, Any]:
        self.peak = max(self.peak, self.memory.read())
        return {
            **self._identity(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "train_seconds": self.train_seconds,
            "peak": self.peak,
            "saved_bytes": self.saved_bytes,
            "started": self.started,
        }

    def _identity(self) -> dict[str, str]:
        """What must agree for the last bits to agree."""
        return {"trial": self.trial.id, "device": provenance.device_name(self.device), "torch": str(torch.__version__)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; raises ``LabError`` if it is of another trial, device, torch or model."""
        for key, wanted in self._identity().items():
            if state.get(key) != wanted:
                raise LabError(f"the checkpoint is of {key} {state.get(key)}, not {wanted}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
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
        validation = self._evaluate(self.task.validate)
        self.train_seconds += trained - began
        self.epochs.append(Epoch(train=train, validation=validation, seconds=time.perf_counter() - began))

    def _train(self) -> dict[str, float]:
        seed, epoch = self.trial.seed, len(self.epochs)
        order = torch.randperm(self.task.samples, generator=generator(seed, "order", epoch))
        parts = order.tensor_split(self.steps)  # equal parts: no last batch of one sample, and every sample is seen
        sums: dict[str, Tensor] = {}
        self.model.train()
        for k, (index, batch) in enumerate(zip(parts, self.task.batches(parts, seed, epoch), strict=True)):
            for name, value in self._step(epoch * self.steps + k, batch).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value * len(index)
        return {name: float(total) / self.task.samples for name, total in sums.items()}

    def _step(self, step: int, batch: Any) -> dict[str, Tensor]:
        rate = self.trial.lr * _schedule(step, self.steps * self.trial.epochs, self.trial.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        # dropout and noisy activations draw from the global generator: paired across arms, step by step
        seed_modules(self.device, derive(self.trial.seed, "noise", step))
        saved = SavedBytes()
        with saved.watch(self.model) if step == 0 else contextlib.nullcontext():
            loss, metrics = self.task.loss(self.model, batch)
        self.saved_bytes += saved.total
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        return {"loss": loss.detach(), **metrics}

    def _evaluate(self, measure: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            return measure(self.model)

    def record(self, label: str) -> Record:
        """Read the test part, and write everything down."""
        entry = bevel.ACTIVATIONS[self.trial.activation.partition(":")[0]]
        test = self._evaluate(self.task.test)
        return Record(
            trial=self.trial,
            label=label,
            formula=entry.formula,
            citations=list(entry.citations),
            epochs=self.epochs,
            test=test,
            metric=self.task.metric,
            parameters=sum(p.numel() for p in self.model.parameters()),
            activation_parameters=sum(p.numel() for p in self.activation_parameters),
            sites=account(self.sites, self.before),
            seconds=sum(epoch.seconds for epoch in self.epochs),
            train_seconds=self.train_seconds,
            samples=self.task.samples * len(self.epochs),
            data=dict(self.task.facts),
            peak_memory=max(self.peak, self.memory.read()),
            saved_bytes=self.saved_bytes,
            device=provenance.device_name(self.device),
            versions=provenance.versions(),
            commit=provenance.commit(),
            started=self.started,
        )


def _optimiser(trial: Trial, model: nn.Module, activation: list[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with three groups: weights (decayed), biases and norms (not), activation parameters (not, own rate)."""
    own = {id(p) for p in activation}
    others = [p for p in model.parameters() if id(p) not in own]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": trial.weight_decay, "scale": 1.0},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "scale": 1.0},
        {"params": activation, "weight_decay": 0.0, "scale": trial.activation_lr},
    ]
    return torch.optim.SGD([g for g in groups if g["params"]], lr=trial.lr, momentum=trial.momentum, fused=True)


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: linear up to 1 over the first ``warmup`` of all steps, then half a cosine to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
