"""Run one trial. The same trial gives the same record, to the last bit, however often it was interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bevel.errors import InvalidValue
from bevel_lab.datasets import Source
from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.determinism import fixed
from bevel_lab.runtime.distributed import Team
from bevel_lab.runtime.memory import synchronise
from bevel_lab.training import checkpoint
from bevel_lab.training.trainer import Running

ALONE = Team()


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
    team: Team = ALONE,
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
        team: the processes that share the trial; each of them calls this. The first one reads and writes ``state``.

    Returns:
        The record. A diverged trial is finished all the same: its losses are NaN, its accuracies as measured.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.
    """
    found, trouble = team.from_first(_saved(state) if team.rank == 0 else None)
    if trouble and team.rank == 0:
        on_note(f"{trouble}; trial {trial.id} starts again.")
    written = time.monotonic()
    place = as_device(device)
    with fixed(trial.threads, place):
        running = start(trial, source or Source(), place, found, on_note if team.rank == 0 else _silent, team)
        while len(running.epochs) < trial.epochs:
            running.advance()
            if state is not None and team.rank == 0 and time.monotonic() - written >= state_every:
                checkpoint.save(state, running.state())
                written = time.monotonic()
            on_epoch(len(running.epochs), running.epochs[-1])
        return running.record(label or trial.activation)


def _saved(state: Path | None) -> tuple[dict[str, Any] | None, str]:
    """What lies in ``state``, and what is wrong with it."""
    try:
        return (checkpoint.load(state) if state is not None else None), ""
    except LabError as error:
        return None, str(error)


def _silent(text: str) -> None:
    """Another process says it."""


def start(
    trial: Trial, source: Source, device: torch.device, found: dict[str, Any] | None, on_note: Callable[[str], None],
    team: Team = ALONE,
) -> Running:  # fmt: skip
    """The trial, ready to go on from the state ``found`` where that fits, else from its beginning."""
    running = Running(trial, source, device, team)
    if found is not None:
        try:
            running.restore(found)
        except LabError as error:
            on_note(f"{error}; trial {trial.id} starts again.")
            return Running(trial, source, device, team)
    return running


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
    with fixed(trial.threads, place):
        running = Running(trial, source or Source(), place, ALONE)
        index = torch.arange(min(trial.batch_size, running.task.samples))
        running.called.train()
        began = 0.0
        for k, batch in enumerate(running.task.batches([index] * (steps + 1), trial.seed, 0)):
            running.step(k, batch, len(index))
            if k == 0:
                synchronise(place)
                began = time.perf_counter()
        synchronise(place)
        step = (time.perf_counter() - began) / steps
        evaluated = trial.epochs * running.task.validated + running.task.tested
        return Probe((running.steps * trial.epochs + evaluated / 3 / len(index)) * step, step, running.memory.read())


def rehearse(trial: Trial, *, source: Source | None = None, device: str = "cpu") -> None:
    """Do what precedes the first epoch, and one step on two samples; raises what :func:`run` would raise.

    Raises:
        InvalidValue: where the activation cannot serve a site of the model.
    """
    place = as_device(device)
    with fixed(trial.threads, place):
        running = Running(trial, source or Source(), place, ALONE)
        running.called.train()
        batch = next(running.task.batches([torch.arange(2)], trial.seed, 0))
        try:
            running.step(0, batch, 2)
        except RuntimeError as error:
            raise InvalidValue(
                f"{trial.activation!r} cannot be trained in {trial.model!r} on {trial.dataset!r}: "
                f"{str(error).splitlines()[0]}"
            ) from error


def as_device(name: str) -> torch.device:
    """The torch device called ``cpu``, ``cuda`` or ``cuda:1``; raises ``InvalidValue`` where there is none."""
    kind, _, index = name.partition(":")
    if name == "cpu" or (kind == "cuda" and (index.isdecimal() or name == "cuda")):
        if kind == "cpu" or int(index or 0) < torch.cuda.device_count():
            return torch.device(name)
        raise InvalidValue(f"there is no {name!r} here; torch finds {torch.cuda.device_count()} GPUs. Use 'cpu'.")
    raise InvalidValue(f"device is 'cpu', 'cuda' or 'cuda:NUMBER'; got {name!r}.")
