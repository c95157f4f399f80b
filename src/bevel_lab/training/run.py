"""Run one trial. The same trial gives the same record, to the last bit, however often it was interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bevel_lab.data.source import Source
from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.determinism import deterministic
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.distributed import SINGLE_PROCESS, ProcessGroup
from bevel_lab.training import checkpoint, result
from bevel_lab.training.trainer import Trainer


def run_trial(
    trial: Trial,
    *,
    label: str = "",
    source: Source | None = None,
    device: str = "cpu",
    state: Path | None = None,
    state_every: float = 1.0,
    on_epoch: Callable[[int, Epoch], None] = lambda done, epoch: None,
    on_note: Callable[[str], None] = warnings.warn,
    group: ProcessGroup = SINGLE_PROCESS,
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
        group: the processes that share the trial; each of them calls this. The first one reads and writes ``state``.

    Returns:
        The record. A diverged trial is finished all the same: its losses are NaN, its accuracies as measured.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.
    """
    found, trouble = group.broadcast(_saved(state) if group.rank == 0 else None)
    if trouble and group.rank == 0:
        on_note(f"{trouble}; trial {trial.id} starts again.")
    written = time.monotonic()
    place = as_device(device)
    with deterministic(trial.threads, place):
        trainer = start(trial, source or Source(), place, found, on_note if group.rank == 0 else _silent, group)
        while len(trainer.epochs) < trial.epochs:
            trainer.advance()
            if state is not None and group.rank == 0 and time.monotonic() - written >= state_every:
                checkpoint.save(state, trainer.state())
                written = time.monotonic()
            on_epoch(len(trainer.epochs), trainer.epochs[-1])
        return result.record(trainer, label or trial.activation)


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
    group: ProcessGroup = SINGLE_PROCESS,
) -> Trainer:  # fmt: skip
    """The trial, ready to go on from the state ``found`` where that fits, else from its beginning."""
    trainer = Trainer(trial, source, device, group)
    if found is not None:
        try:
            trainer.restore(found)
        except LabError as error:
            on_note(f"{error}; trial {trial.id} starts again.")
            return Trainer(trial, source, device, group)
    return trainer
